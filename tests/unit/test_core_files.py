"""Files are whole or absent, JSON has one text, and no name out of a file leads out of its folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from nasbench.core.errors import FileReadError, FileWriteError, NasbenchError
from nasbench.core.files import (
    FINGERPRINT_CHARS,
    atomic_path,
    canonical_json,
    check_writable,
    fingerprint,
    inside,
    read_json,
    write_bytes,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    """Everything below a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_written_with_its_parents_and_nothing_else(tmp_path):
    write_text(tmp_path / "a" / "b" / "file.txt", "grün\n")
    assert names(tmp_path) == ["a", "a/b", "a/b/file.txt"]
    assert (tmp_path / "a/b/file.txt").read_bytes() == "grün\n".encode()


def test_the_former_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"former")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"former"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def write_half(path: Path, error: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt(), OSError(errno.EIO, "I/O error")])
def test_nothing_is_left_where_the_body_raises(tmp_path, error):
    path = tmp_path / "file"
    wanted = FileWriteError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted):
        write_half(path, error)
    assert names(tmp_path) == []
    write_bytes(path, b"former")
    with pytest.raises(wanted):
        write_half(path, error)
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"former"


def test_a_body_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileWriteError, match="cannot write"), atomic_path(tmp_path / "file"):
        pass
    assert names(tmp_path) == []


def test_a_parent_that_is_a_file_is_an_error_with_path_reason_and_cure(tmp_path):
    write_bytes(tmp_path / "file", b"x")
    with pytest.raises(FileWriteError) as caught:
        write_bytes(tmp_path / "file" / "inner.json", b"y")
    message = str(caught.value)
    assert str(tmp_path / "file" / "inner.json") in message
    assert os.strerror(errno.EEXIST) in message or os.strerror(errno.ENOTDIR) in message
    assert "choose a writable place" in message
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_an_error(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(FileWriteError, match=os.strerror(errno.EACCES)):
        write_bytes(folder / "file", b"x")
    assert names(tmp_path) == ["locked"]


def test_no_permission_to_make_a_temporary_name_is_an_error(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(FileWriteError, match=os.strerror(errno.EACCES)):
        write_bytes(tmp_path / "file", b"x")
    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.open", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_former_file_and_no_temporary_one(tmp_path, monkeypatch, place):
    path = tmp_path / "file"
    write_bytes(path, b"former")
    with monkeypatch.context() as patch:
        patch.setattr(place, full)
        with pytest.raises(FileWriteError, match=os.strerror(errno.ENOSPC)):
            write_bytes(path, b"new")
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"former"


def write_to_a_full_device(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"x" * 100_000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, which takes no byte")
def test_a_really_full_device_is_an_error(tmp_path):
    with pytest.raises(FileWriteError, match=os.strerror(errno.ENOSPC)):
        write_to_a_full_device(tmp_path / "file")
    assert names(tmp_path) == []


def make_directory(path: Path, **files: str) -> None:
    with atomic_path(path) as temporary:
        temporary.mkdir()
        for name, text in files.items():
            (temporary / name).write_text(text)


def test_a_directory_is_replaced_whole(tmp_path):
    make_directory(tmp_path / "out", former="1", both="1")
    make_directory(tmp_path / "out", both="2", new="2")
    assert names(tmp_path) == ["out", "out/both", "out/new"]
    assert (tmp_path / "out/both").read_text() == "2"


def test_a_directory_stays_where_it_cannot_be_replaced(tmp_path, monkeypatch):
    make_directory(tmp_path / "out", former="1")
    calls: list[Path] = []
    real = Path.replace

    def fail_once(self: Path, target: Path) -> Path:
        calls.append(self)
        return real(self, target) if len(calls) != 2 else full()  # the second is the new one's

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", fail_once)
        with pytest.raises(FileWriteError, match=os.strerror(errno.ENOSPC)):
            make_directory(tmp_path / "out", new="2")
    assert len(calls) == 3
    assert names(tmp_path) == ["out", "out/former"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_file_and_a_directory_do_not_replace_each_other(tmp_path, kind):
    path = tmp_path / "out"
    if kind == "file":
        make_directory(path, former="1")
        with pytest.raises(FileWriteError):
            write_bytes(path, b"x")
        assert names(tmp_path) == ["out", "out/former"]
    else:
        write_bytes(path, b"x")
        with pytest.raises(FileWriteError):
            make_directory(path, new="1")
        assert names(tmp_path) == ["out"]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    write_bytes(tmp_path / "cache", b"cached")
    (tmp_path / "out").symlink_to("cache")
    write_bytes(tmp_path / "out", b"new")
    assert (tmp_path / "cache").read_bytes() == b"cached"
    assert not (tmp_path / "out").is_symlink()


def test_check_writable_changes_nothing_and_refuses_what_a_write_would(tmp_path):
    write_bytes(tmp_path / "file", b"x")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "file")
    assert (tmp_path / "file").read_bytes() == b"x"
    assert names(tmp_path) == ["file", "new"]
    with pytest.raises(FileWriteError, match="cannot write"):
        check_writable(tmp_path / "file" / "inner")
    with pytest.raises(FileWriteError, match="it is a directory"):
        check_writable(tmp_path)


def test_json_has_one_text_whatever_the_order_of_keys():
    assert canonical_json({"b": [1, 2.5, None, True], "a": "é"}) == '{"a":"é","b":[1,2.5,null,true]}'
    assert canonical_json({"a": 1, "b": 2}) == canonical_json({"b": 2, "a": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_refused_before_anything_is_written(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"x": value})
    with pytest.raises(ValueError, match="JSON compliant"):
        fingerprint([value])
    write_json(tmp_path / "file.json", {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file.json", {"x": [value]})
    assert read_json(tmp_path / "file.json") == {"x": 1}
    assert names(tmp_path) == ["file.json"]


def test_written_json_is_sorted_indented_and_ends_with_a_line(tmp_path):
    write_json(tmp_path / "file.json", {"b": 1, "a": [0.1, "ü"]})
    text = (tmp_path / "file.json").read_text(encoding="utf-8")
    assert text == '{\n  "a": [\n    0.1,\n    "ü"\n  ],\n  "b": 1\n}\n'
    assert read_json(tmp_path / "file.json") == {"a": [0.1, "ü"], "b": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not valid JSON"),
        (b'{"a": 1', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[1]", "holds a JSON list"),
        (b"null", "holds a JSON NoneType"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path, content, said):
    (tmp_path / "file.json").write_bytes(content)
    with pytest.raises(FileReadError, match=said) as caught:
        read_json(tmp_path / "file.json")
    assert "file.json" in str(caught.value)


def test_an_absent_file_and_a_directory_are_refused(tmp_path):
    with pytest.raises(FileReadError, match=r"absent\.json.*No such file"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(FileReadError, match="directory"):
        read_json(tmp_path)


def test_a_fingerprint_is_the_head_of_sha256_of_the_canonical_text():
    digest = hashlib.sha256(b'{"a":[1,2]}').hexdigest()
    assert fingerprint({"a": [1, 2]}) == digest[:32] == fingerprint(b'{"a":[1,2]}')
    assert len(fingerprint("")) == FINGERPRINT_CHARS <= 36  # the most that MLflow takes as a digest
    assert fingerprint("1") == hashlib.sha256(json.dumps("1").encode()).hexdigest()[:32] != fingerprint(b"1")


def test_a_path_below_the_folder_is_given_in_full(tmp_path):
    assert inside(tmp_path, "a/b.png") == tmp_path.resolve() / "a" / "b.png"
    assert inside(tmp_path, "a/../b.png") == tmp_path.resolve() / "b.png"


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/etc/passwd", "a/b/../../../x", "bad\0name"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with pytest.raises(FileReadError) as caught:
        inside(tmp_path / "root", name)
    assert repr(name) in str(caught.value)


def test_a_sibling_with_the_same_beginning_an_absolute_path_and_links_are_refused(tmp_path):
    root = tmp_path / "root"
    (tmp_path / "root-of-others").mkdir()
    root.mkdir()
    (root / "out").symlink_to(tmp_path / "root-of-others")
    (root / "loop").symlink_to("loop")
    (root / "near").symlink_to("near-by")
    for name in ("../root-of-others", str(root / "file"), "out/file", "loop/file"):
        with pytest.raises(FileReadError):
            inside(root, name)
    assert inside(root, "near/file") == root.resolve() / "near-by" / "file"


def test_every_error_is_one_that_the_command_line_shows():
    assert issubclass(FileReadError, NasbenchError)
    assert issubclass(FileWriteError, NasbenchError)
