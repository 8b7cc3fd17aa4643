"""Listing event files: platforms, archives, half-copied names, keys."""

from __future__ import annotations

import errno
import os
import zipfile
from datetime import date
from pathlib import Path

import pytest
from xxhash import xxh3_128_hexdigest

from jobs.discover import EventFile, is_archive, list_events, list_members, open_file
from jobs.errors import JobError, UnreadableFile

UNFINISHED = (".*", "*.tmp", "*._COPYING_")


def put(root, path, content=b"{}\n"):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def found(root):
    return {file.path: file.platform for file in list_events(str(root), UNFINISHED).files}


def test_the_first_folder_is_the_platform_in_any_case(tmp_path):
    put(tmp_path, "IOS/a.json")
    put(tmp_path, "android/2016/02/b.json")
    put(tmp_path, "MobileWeb/c")
    put(tmp_path, "windows/d.json")
    put(tmp_path, "e.json")
    assert found(tmp_path) == {
        "IOS/a.json": "iOS",
        "android/2016/02/b.json": "Android",
        "MobileWeb/c": "MobileWeb",
        "windows/d.json": None,
        "e.json": None,
    }


def test_half_copied_names_are_left_and_told(tmp_path):
    put(tmp_path, "iOS/a.json.tmp")
    put(tmp_path, "iOS/.b.json")
    put(tmp_path, "iOS/.parts/c.json")
    put(tmp_path, "iOS/d.json._COPYING_")
    listing = list_events(str(tmp_path), UNFINISHED)
    assert listing.files == []
    assert listing.unfinished == ["iOS/.b.json", "iOS/.parts/c.json", "iOS/a.json.tmp", "iOS/d.json._COPYING_"]


def test_a_missing_root_says_what_to_set(tmp_path):
    with pytest.raises(
        JobError, match=r"does not exist; set CTR_EVENTS to the folder that holds Android, MobileWeb, iOS"
    ):
        list_events(str(tmp_path / "nowhere"), UNFINISHED)


def test_the_key_changes_with_path_size_or_time_and_with_nothing_else(tmp_path):
    put(tmp_path, "iOS/a.json")
    [file] = list_events(str(tmp_path), UNFINISHED).files
    assert list_events(str(tmp_path), UNFINISHED).files[0].file_id == file.file_id
    os.utime(tmp_path / "iOS/a.json", (1, 1))
    assert list_events(str(tmp_path), UNFINISHED).files[0].file_id != file.file_id


@pytest.mark.parametrize(
    ("path", "day"),
    [
        ("iOS/2016-02-03/a.json", date(2016, 2, 3)),
        ("iOS/2016/02/03/a.json", date(2016, 2, 3)),
        ("iOS/productEvent_20160203.json.gz", date(2016, 2, 3)),
        ("iOS/2016-02-31/20160203.json", date(2016, 2, 3)),
        ("iOS/year=2016/month=02/day=03/a.json", date(2016, 2, 3)),
        ("iOS/year=2016/month=2/day=3/hour=10/a.json", date(2016, 2, 3)),
        ("iOS/2016020310.json", date(2016, 2, 3)),
        ("iOS/2016-02-03T10.json", date(2016, 2, 3)),
        ("iOS/2016-03-01.zip!2016-02-03/a.json", date(2016, 2, 3)),
        ("iOS/2016-02-03.zip!a.json", date(2016, 2, 3)),
        ("iOS/2016020325.json", date(1970, 1, 2)),
        ("iOS/2016/2/3/a.json", date(1970, 1, 2)),
        ("iOS/120160203999.json", date(1970, 1, 2)),
        ("iOS/a.json", date(1970, 1, 2)),
    ],
)
def test_the_day_of_a_file_is_a_date_in_its_path_else_that_of_its_change(path, day):
    assert EventFile(path, "iOS", 1, 86_400_000_000).day == day


def archive(file, **members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in members.items():
            content.writestr(name.replace("__", "/"), data)


def test_a_zip_of_the_folders_is_told_by_its_bytes_and_lists_its_members(tmp_path):
    archive(tmp_path / "all.bin", events__iOS__a=b"1", events__android__b=b"22", events__odd__c=b"3")
    [file] = list_events(str(tmp_path / "all.bin"), UNFINISHED).files
    assert is_archive(str(tmp_path / "all.bin"), file)
    members = list_members(str(tmp_path / "all.bin"), file)
    assert [(m.path, m.platform, m.size) for m in members] == [
        ("all.bin!events/android/b", "Android", 2),
        ("all.bin!events/iOS/a", "iOS", 1),
        ("all.bin!events/odd/c", None, 1),
    ]
    with open_file(str(tmp_path / "all.bin"), members[0]) as stream:
        assert stream.read() == b"22"


def test_a_zip_in_a_platform_folder_belongs_to_that_platform(tmp_path):
    put(tmp_path, "iOS/x", b"")
    archive(tmp_path / "iOS" / "x", Android__a=b"1")
    [file] = list_events(str(tmp_path), UNFINISHED).files
    assert [m.platform for m in list_members(str(tmp_path), file)] == ["iOS"]


def test_a_damaged_zip_is_unreadable(tmp_path):
    archive(tmp_path / "all.zip", iOS__a=b"1" * 1000)
    whole = (tmp_path / "all.zip").read_bytes()
    (tmp_path / "all.zip").write_bytes(whole[:-30])
    [file] = list_events(str(tmp_path / "all.zip"), UNFINISHED).files
    with pytest.raises(UnreadableFile, match="not a readable ZIP"):
        list_members(str(tmp_path / "all.zip"), file)


def test_a_member_whose_bytes_were_damaged_is_unreadable(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as content:
        content.writestr("iOS/a", b"AAAAAAAAAA")
    (tmp_path / "all.zip").write_bytes((tmp_path / "all.zip").read_bytes().replace(b"AAAAAAAAAA", b"AAAAABAAAA"))
    [file] = list_events(str(tmp_path / "all.zip"), UNFINISHED).files
    [member] = list_members(str(tmp_path / "all.zip"), file)
    with (
        pytest.raises(UnreadableFile, match="damaged in its ZIP"),
        open_file(str(tmp_path / "all.zip"), member) as stream,
    ):
        stream.read()


def test_a_file_that_is_gone_or_changed_is_unreadable(tmp_path):
    file = put(tmp_path, "iOS/a.json")
    [listed] = list_events(str(tmp_path), UNFINISHED).files
    with pytest.raises(UnreadableFile, match="changed while it was read"), open_file(str(tmp_path), listed):
        file.write_bytes(b"{}\n{}\n")
    file.unlink()
    with pytest.raises(UnreadableFile, match="cannot be read: No such file"), open_file(str(tmp_path), listed):
        pass


def test_a_pipe_is_listed_and_never_opened(tmp_path):
    put(tmp_path, "iOS/a.json")
    os.mkfifo(tmp_path / "iOS/pipe")
    writer = os.open(
        tmp_path / "iOS/pipe", os.O_RDWR
    )  # so that who opens it fails this test instead of waiting for ever
    os.write(writer, b"PK\x03\x04")
    _, pipe = list_events(str(tmp_path), UNFINISHED).files
    assert (pipe.path, is_archive(str(tmp_path), pipe)) == ("iOS/pipe", False)
    with pytest.raises(UnreadableFile, match="no regular file"), open_file(str(tmp_path), pipe):
        pass
    assert os.read(writer, 4) == b"PK\x03\x04"
    os.close(writer)


def test_files_archives_and_members_with_the_mark_of_members_in_their_names_are_read(tmp_path):
    names = {"iOS/sale!.json": b"1", "iOS/a.zip!b": b"2", "iOS/!/!!": b"3"}
    for name, content in names.items():
        put(tmp_path, name, content)
    for name in ("iOS/a.zip", "iOS/a.zip!", "iOS/sale!/a.zip"):
        put(tmp_path, name)
        archive(tmp_path / name, **{"b": b"4", "!b": b"5", "./!b": b"6", "c!d!!": b"7"})
    root, found = str(tmp_path), {}
    for file in list_events(root, UNFINISHED).files:
        for one in list_members(root, file) if is_archive(root, file) else [file]:
            assert one.path not in found
            with open_file(root, one) as stream:
                found[one.path] = stream.read()
    assert found["iOS/sale!!.json"] == b"1"
    assert found["iOS/sale!!/a.zip!c!d!!"] == b"7"
    assert sorted(found.values()) == sorted([*names.values(), *3 * [b"4", b"5", b"6", b"7"]])


def test_names_that_are_no_utf8_are_listed_as_text_and_read(tmp_path):
    (tmp_path / "iOS").mkdir()
    folder = os.fsencode(tmp_path) + b"/iOS/"
    for name in (b"vis\xe3o.json", "visão.json".encode(), b"vis\\xe3o.json", b"vis\xe3o.tmp"):
        Path(os.fsdecode(folder + name)).write_bytes(name)
    archive(Path(os.fsdecode(folder + b"\xff.zip")), a=b"member")
    listing = list_events(str(tmp_path), UNFINISHED)
    packed, *loose = sorted(listing.files, key=lambda file: file.path)
    [member] = list_members(str(tmp_path), packed)
    assert [file.path for file in [member, *loose]] == [
        r"iOS/\xff.zip!a",
        r"iOS/vis\x5cxe3o.json",
        r"iOS/vis\xe3o.json",
        "iOS/visão.json",
    ]
    assert listing.unfinished == [r"iOS/vis\xe3o.tmp"]
    contents = []
    for file in [member, *loose]:
        with open_file(str(tmp_path), file) as stream:
            contents.append(stream.read())
    assert contents == [b"member", b"vis\\xe3o.json", b"vis\xe3o.json", "visão.json".encode()]


def test_the_keys_of_files_do_not_change_from_release_to_release():
    assert EventFile("iOS/visão 1.json", "iOS", 7, 1).file_id == xxh3_128_hexdigest("iOS/visão 1.json\n7\n1".encode())


def closed(monkeypatch, *folders, number=errno.EACCES):
    """Makes these folders refuse to be listed; the tests may run as a user who may list everything."""
    really = os.scandir

    def scandir(path):
        if Path(path) in folders:
            raise OSError(number, os.strerror(number), str(path))
        return really(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_that_cannot_be_listed_is_told_like_a_file_and_holds_up_no_other(tmp_path, monkeypatch):
    put(tmp_path, "iOS/locked/a")
    put(tmp_path, "iOS/open/b")
    put(tmp_path, "lost+found/c")
    put(tmp_path, ".snapshots/d")
    closed(monkeypatch, *(tmp_path / name for name in ("iOS/locked", "lost+found", ".snapshots")))
    assert found(tmp_path) == {"iOS/locked/": "iOS", "iOS/open/b": "iOS", "lost+found/": None}
    [folder] = [file for file in list_events(str(tmp_path), UNFINISHED).files if file.path == "iOS/locked/"]
    with (
        pytest.raises(UnreadableFile, match="cannot be listed; give this user the right"),
        open_file(str(tmp_path), folder),
    ):
        pass


def test_a_folder_that_vanishes_while_it_is_looked_at_is_not_there(tmp_path, monkeypatch):
    put(tmp_path, "iOS/moved/a")
    put(tmp_path, "iOS/b")
    closed(monkeypatch, tmp_path / "iOS/moved", number=errno.ENOENT)
    assert found(tmp_path) == {"iOS/b": "iOS"}


def test_a_root_that_cannot_be_listed_ends_the_run(tmp_path, monkeypatch):
    put(tmp_path, "iOS/a")
    closed(monkeypatch, tmp_path)
    with pytest.raises(JobError, match="Permission denied; give this user the right"):
        list_events(str(tmp_path), UNFINISHED)


def test_links_to_other_folders_are_followed_and_those_that_lead_back_are_not(tmp_path):
    root, other = tmp_path / "events", tmp_path / "other"
    put(root, "iOS/a")
    put(other, "deep/b")
    (root / "iOS" / "elsewhere").symlink_to(other)
    (root / "iOS" / "again").symlink_to(root / "iOS")
    (root / "iOS" / "top").symlink_to(root)
    (other / "deep" / "up").symlink_to(other)
    assert found(root) == {"iOS/a": "iOS", "iOS/elsewhere/deep/b": "iOS"}


def test_a_zip_as_the_root_is_left_for_later_like_any_file(tmp_path):
    archive(tmp_path / "all.zip.tmp", iOS__a=b"1")
    assert list_events(str(tmp_path / "all.zip.tmp"), UNFINISHED).unfinished == ["all.zip.tmp"]
    archive(tmp_path / "all.zip", iOS__a=b"1")
    young = list_events(str(tmp_path / "all.zip"), UNFINISHED, young_seconds=3600)
    assert (young.files, young.unfinished) == ([], ["all.zip"])
