from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from serving.errors import SettingsError
from serving.keys import KeyFile, main, make_key, read_keys, today, write_keys
from serving.settings import ROOT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def new(file: Path, capsys, *arguments: str) -> str:
    """Make a key by the command; gives the secret."""
    assert main(["--file", str(file), "new", *arguments]) == 0
    return capsys.readouterr().out.split("\n")[0]


def test_a_new_key_is_shown_once_and_only_its_hash_is_kept_for_the_owner_alone(file, capsys):
    secret = new(file, capsys, "shop")
    assert secret not in file.read_text()
    assert secret[13:] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = KeyFile(str(file)).find(secret)
    assert found is not None
    assert (found.client, found.scopes, found.platforms, found.expires) == ("shop", ("read",), (), None)


def test_a_client_may_have_several_keys_and_one_is_revoked_alone(file, capsys):
    first, second = new(file, capsys, "shop"), new(file, capsys, "shop", "--scope", "metrics", "--platform", "iOS")
    keys = KeyFile(str(file))
    assert main(["--file", str(file), "list"]) == 0
    table = capsys.readouterr().out
    assert first[:12] in table
    assert first not in table
    assert main(["--file", str(file), "revoke", first[:12]]) == 0
    assert keys.find(first) is None
    found = keys.find(second)
    assert found is not None
    assert (found.scopes, found.platforms) == (("metrics",), ("iOS",))


def test_a_key_is_valid_through_its_last_day(file):
    ends, ended = (make_key("x", ("read",), (), today() + timedelta(days=days)) for days in (0, -1))
    write_keys(file, (ends[1], ended[1]))
    found = [KeyFile(str(file)).find(secret) for secret, _ in (ends, ended)]
    assert [key.valid_on(today()) for key in found if key is not None] == [True, False]


@pytest.mark.parametrize("wrong", ["", "ctr_", "x" * 100, "ctr_é", "\x00"])
def test_what_is_no_key_is_none(file, capsys, wrong):
    secret = new(file, capsys, "shop")
    keys = KeyFile(str(file))
    assert keys.find(wrong) is None
    assert keys.find(secret[:-1]) is None
    assert keys.find(secret + "x") is None
    assert keys.find(secret[:12] + "_" + "y" * 43) is None


def test_a_file_that_becomes_unreadable_leaves_the_last_keys_in_force(file, capsys, caplog):
    secret = new(file, capsys, "shop")
    keys = KeyFile(str(file))
    file.write_text("{")
    assert keys.find(secret) is not None
    assert "the keys read before stay in force" in caplog.text


def test_a_file_that_could_not_be_read_for_a_moment_is_tried_again_and_its_fault_told_once(
    file, capsys, caplog, monkeypatch
):
    first, second = new(file, capsys, "shop"), new(file, capsys, "shop")
    keys = KeyFile(str(file))
    assert main(["--file", str(file), "revoke", first[:12]]) == 0
    with monkeypatch.context() as unreadable:
        unreadable.setattr(
            Path, "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
        )
        assert keys.find(first) is not None
        assert keys.find(first) is not None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert keys.find(first) is None
    assert keys.find(second) is not None


def test_a_file_that_was_changed_in_place_and_looks_as_old_and_as_long_is_read_again(file, capsys):
    secret = new(file, capsys, "shop")
    keys = KeyFile(str(file))
    before = file.stat()
    with file.open("r+") as text:
        text.write(file.read_text().replace(secret[:12], "ctr_00000000"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert keys.find(secret) is None


def test_a_changed_file_keeps_its_mode_and_its_owner(file, capsys, monkeypatch):
    new(file, capsys, "shop")
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, 1234, 4321)
    before = file.stat()
    new(file, capsys, "shop")
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    refused = PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(os, "fchown", lambda *_: (_ for _ in ()).throw(refused))
    new(file, capsys, "shop")
    assert file.stat().st_mode == before.st_mode
    assert len(read_keys(file)) == 3


@pytest.mark.parametrize("command", [["list"], ["new", "shop"], ["revoke", "ctr_nothing"]])
def test_a_folder_that_there_is_not_is_told_in_one_line(tmp_path, capsys, command):
    assert main(["--file", str(tmp_path / "no" / "keys.json"), *command]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.endswith("No such file or directory\n")


@pytest.mark.parametrize(
    "text", ["{", "[1]", json.dumps([{"id": "a", "client": "b", "sha256": "c", "scopes": ["all"]}])]
)
def test_a_file_that_holds_no_keys_is_told_with_its_name(file, text):
    file.write_text(text)
    with pytest.raises(SettingsError, match=r"keys\.json"):
        read_keys(file)


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "", "36501", "9" * 20])
def test_a_key_for_less_than_a_day_or_for_ever_is_not_made(file, capsys, days):
    with pytest.raises(SystemExit) as caught:
        main(["--file", str(file), "new", "shop", f"--days={days}"])
    assert caught.value.code == 2
    assert f"argument --days: found '{days}', wanted a whole number from 1 to 36500" in capsys.readouterr().err
    assert not file.exists()


def test_a_key_for_a_day_is_valid_through_tomorrow(file, capsys):
    secret = new(file, capsys, "shop", "--days", "1")
    found = KeyFile(str(file)).find(secret)
    assert found is not None
    assert found.expires == today() + timedelta(days=1)


def test_wrong_usage_is_told_in_one_line(file, capsys):
    assert main(["--file", str(file), "list"]) == 2
    new(file, capsys, "shop")
    assert main(["--file", str(file), "revoke", "ctr_nothing"]) == 2
    assert "there is no key ctr_nothing" in capsys.readouterr().err


def test_a_file_that_is_a_link_stays_one_and_what_it_leads_to_is_changed(tmp_path, file, capsys):
    link = tmp_path / "conf" / "keys.json"
    link.parent.mkdir()
    link.symlink_to(file)
    secret = new(link, capsys, "shop")
    keys = KeyFile(str(file))
    assert keys.find(secret) is not None
    assert main(["--file", str(link), "revoke", secret[:12]]) == 0
    assert keys.find(secret) is None
    assert link.is_symlink()
    assert list(link.parent.iterdir()) == [link], "the lock lies beside the file"


@pytest.mark.parametrize("command", [["list"], ["new", "shop"], ["revoke", "ctr_nothing"]])
def test_a_broken_file_is_told_with_what_to_do_about_it(file, capsys, command):
    file.write_text("{")
    assert main(["--file", str(file), *command]) == 2
    told = f"cannot read the API keys in {file}: 1 faults in its text; "
    told += "put the file back from a backup, or move it away and make new keys\n"
    assert capsys.readouterr().err == f"serving.keys: {told}"


def test_a_reader_that_has_enough_is_no_failure(file):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "serving.keys", "--file", str(file), "new", "shop"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
