/** The request behind a view, for copying: as an address, for curl and for Python. */

import { localText } from "./time.js";
import { encode, parametersOf } from "./view.js";

export const FORMATS = [["csv", "CSV"], ["json", "JSON"], ["ndjson", "NDJSON"], ["arrow", "Arrow"], ["parquet", "Parquet"]];

/** The path of the API for a view, with the counts behind each CTR. */
export function pathOf(view, format = "json") {
  const more = format === "json" ? [] : [["format", format]];
  return `/v1/ctr?${encode([...parametersOf(view), ["detail", "true"], ...more])}`;
}

/**
 * The path that the page reads, and the zone of the timestamps in its answer. Two hours have one local time where clocks are
 * put back, so buckets of elapsed minutes, in which the zone changes nothing, are read in UTC. Calendar days begin once each.
 */
export function readingOf(view, start, end) {
  const calendar = Number(view.aggregation) % 1440 === 0;
  if (calendar || view.timezone === "UTC") return { path: pathOf(view), zone: view.timezone };
  const instants = { start: localText(start, "UTC"), end: localText(end, "UTC"), timezone: "UTC" };
  return { path: pathOf({ ...view, ...instants }), zone: "UTC" };
}

/** The request as text of a kind: url, curl or python. `keyed`: callers need a key. */
export function requestText(view, kind, keyed) {
  const url = location.origin + pathOf(view);
  if (kind === "curl") return `curl ${keyed ? "-H \"Authorization: Bearer $CTR_KEY\" " : ""}'${url}'`;
  return kind === "python" ? python(view, keyed) : url;
}

function python(view, keyed) {
  const lines = [...parametersOf(view), ["detail", "true"]]
    .map(([name, value]) => `    (${JSON.stringify(name)}, ${JSON.stringify(value)}),`);
  const headers = keyed ? ', headers={"Authorization": f"Bearer {os.environ[\'CTR_KEY\']}"}' : "";
  return [
    ...(keyed ? ["import os", ""] : []),
    "import httpx",
    "",
    "parameters = [",
    ...lines,
    "]",
    `answer = httpx.get("${location.origin}/v1/ctr", params=parameters${headers}, timeout=60)`,
    "answer.raise_for_status()",
    "rows = answer.json()",
  ].join("\n");
}
