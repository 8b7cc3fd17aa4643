"""The SQL of what there is: what each day covers, and the names of products."""

from __future__ import annotations

from typing import Any

from serving.contract import PLATFORMS
from serving.query.statements import Query, bind, checked, stored
from serving.request.parameters import ProductsRequest
from serving.state.files import TableFiles
from serving.state.snapshot import Snapshot


def coverage(files: TableFiles) -> Query:
    """The rows of ``coverage`` in the order of ``snapshot.CoverageRow``."""
    values: dict[str, Any] = {}
    source = stored("coverage", files.all, "files", values)
    return Query(f"SELECT date, platform, views, epoch_us(last_view), epoch_us(last_purchase) FROM {source}", values)


def products(request: ProductsRequest, snapshot: Snapshot) -> Query:
    """The names of products that contain a text, in any case: what is just it, what begins with it, the rest.

    So who types finds what he means among the first, however many contain it. Each part is in the byte order of UTF-8.
    They are read from the replica where that knows every product, else from Delta.
    """
    values: dict[str, Any] = {"search": request.search, "limit": request.limit}
    if snapshot.knows_products:
        return Query(_products_of_replica(request, snapshot), values)
    own = f" AND platform IN ({bind('platform', request.platforms, values)})" if request.platforms else ""
    source = stored("ctr_day", snapshot.tables["ctr_day"].all, "files", values)
    return Query(
        f"SELECT DISTINCT product AS name FROM {source} WHERE contains(lower(product), lower($search)){own} {_NEAREST}",
        values,
    )


def _products_of_replica(request: ProductsRequest, snapshot: Snapshot) -> str:
    mask = sum(1 << PLATFORMS.index(platform) for platform in request.platforms)
    own = f" AND platforms & {mask} > 0" if mask else ""
    found = " UNION ".join(
        f"SELECT name FROM {checked(segment.name)}.product WHERE contains(lower(name), lower($search)){own}"
        for segment in snapshot.days
    )
    return f"SELECT DISTINCT name FROM ({found}) {_NEAREST}"


_NEAREST = "ORDER BY lower(name) <> lower($search), NOT starts_with(lower(name), lower($search)), name LIMIT $limit"
