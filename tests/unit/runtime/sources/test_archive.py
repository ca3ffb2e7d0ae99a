"""Archives: good ones of each kind, and each way in which one may be made to do harm."""

import io
import json
import struct
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from onnxmodel_runtime.contract.volume import SOURCE_FILE
from onnxmodel_runtime.errors import StageError
from onnxmodel_runtime.sources import archive
from tests.unit.runtime.source_support import BODY, DIGEST, Site, get, packed_zip, refused, sends, tar

pytestmark = pytest.mark.usefixtures("plain_environment")
LIMIT = 1 << 20


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for info, content in members:
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    return out.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpack(content: bytes, form: str, tmp_path: Path, limit: int = LIMIT) -> dict[str, dict[str, Any]]:
    path = tmp_path / "packed"
    path.write_bytes(content)
    return archive.unpack(path, form, tmp_path / "out", limit, "https://models.example/m.tar.gz")


def refusal(content: bytes, form: str, tmp_path: Path, limit: int = LIMIT) -> StageError:
    with pytest.raises(StageError) as caught:
        unpack(content, form, tmp_path, limit)
    assert not caught.value.retry
    assert caught.value.failure.hint
    assert caught.value.failure.field == "spec.source.uri"
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")]
    assert outside == [tmp_path / "packed"]
    return caught.value


FILES = {"model.onnx": BODY, "data/weights.bin": b"weights"}
MAKERS = [
    ("/m.tar.gz", lambda files: tar(files)),
    ("/m.tgz", lambda files: tar(files)),
    ("/m.tar", lambda files: tar(files, "w")),
    ("/M.ZIP", lambda files: packed_zip(files)),
]


@pytest.mark.parametrize(("path", "make"), MAKERS)
def test_a_folder_that_is_packed(site: Site, tmp_path: Path, path: str, make: Any) -> None:
    site.routes[path] = sends(make(FILES))
    record = get(site.url(path), tmp_path / "model", sha256=DIGEST)  # the pin is of the model, not of the archive
    assert sorted(record["files"]) == ["data/weights.bin", "model.onnx"]
    assert record == json.loads((tmp_path / "model" / SOURCE_FILE).read_text())
    assert (tmp_path / "model" / "data" / "weights.bin").read_bytes() == b"weights"
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["data", "model.onnx", SOURCE_FILE]


@pytest.mark.parametrize(("path", "make"), MAKERS)
def test_the_pin_of_an_archive_is_of_its_model(site: Site, tmp_path: Path, path: str, make: Any) -> None:
    site.routes[path] = sends(make(FILES))
    assert refused(site.url(path), tmp_path / "model", sha256="0" * 64).failure.reason == "DigestMismatch"


def test_a_folder_within_the_archive_and_a_model_of_another_name(site: Site, tmp_path: Path) -> None:
    site.routes["/m.tar.gz"] = sends(tar({"./resnet/resnet50.onnx": BODY, "./resnet/w/x.bin": b"x", "./README": b"y"}))
    record = get(site.url("/m.tar.gz"), tmp_path / "model")
    assert sorted(record["files"]) == ["model.onnx", "w/x.bin"]
    assert (tmp_path / "model" / "w" / "x.bin").is_file()


def test_which_file_is_the_model() -> None:
    assert archive.find_model(["a/model.onnx", "a/b/model.onnx", "x.onnx"], "u") == "a/model.onnx"
    assert archive.find_model(["a/x.ONNX", "a/w.bin"], "u") == "a/x.ONNX"
    for names in (["a/model.onnx", "b/model.onnx"], ["a.onnx", "b.onnx"], ["README"], []):
        with pytest.raises(StageError, match="SourceNotFound"):
            archive.find_model(names, "u")


def test_an_archive_of_a_claim_and_of_a_person(tmp_path: Path) -> None:
    (tmp_path / "m.zip").write_bytes(packed_zip(FILES))
    assert get(str(tmp_path / "m.zip"), tmp_path / "model", local=True)["sha256"] == DIGEST


# ---- names -----------------------------------------------------------------------------------------------------------

EVIL_NAMES = ["/etc/passwd", "../x", "a/../../x", "..", "a\\..\\x", "x\ny", "a" * 256, "/".join("a" * 40)]


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_no_name_leaves_the_folder(tmp_path: Path, name: str) -> None:
    assert refusal(tar({name: b"x"}), "tar.gz", tmp_path).failure.reason == "SourceInvalid"
    (tmp_path / "packed").unlink()
    assert refusal(packed_zip({name: b"x"}), "zip", tmp_path).failure.reason == "SourceInvalid"


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"),
        (tarfile.FIFOTYPE, "pipe"),
        (tarfile.GNUTYPE_SPARSE, "special"),
        (b"Z", "special"),
    ],
)
def test_nothing_but_files_and_folders(tmp_path: Path, kind: bytes, word: str) -> None:
    content = tar_of((special("x", kind, "/etc/passwd"), b""))
    error = refusal(content, "tar.gz", tmp_path)
    assert error.failure.reason == "SourceInvalid"
    assert word in error.failure.message or kind == tarfile.GNUTYPE_SPARSE


def test_a_link_and_then_a_file_through_it(tmp_path: Path) -> None:
    content = tar_of((special("a", tarfile.SYMTYPE, ".."), b""), (tarfile.TarInfo("a/evil"), b"x"))
    assert refusal(content, "tar.gz", tmp_path).failure.reason == "SourceInvalid"


def test_a_link_in_a_zip(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        info = zipfile.ZipInfo("x")
        info.external_attr = 0o120777 << 16
        packed.writestr(info, "/etc/passwd")
    assert "link" in refusal(out.getvalue(), "zip", tmp_path).failure.message


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("a/b", "a")])
def test_no_file_comes_twice(tmp_path: Path, names: tuple[str, str]) -> None:
    content = tar_of(*((tarfile.TarInfo(name), b"x") for name in names))
    assert refusal(content, "tar.gz", tmp_path).failure.reason == "SourceInvalid"


@pytest.mark.parametrize("name", [SOURCE_FILE, ".signature", ".golden.npz", ".golden/input_0.pb"])
def test_names_of_our_own_are_refused(site: Site, tmp_path: Path, name: str) -> None:
    site.routes["/m.tar.gz"] = sends(tar({"m/model.onnx": BODY, f"m/{name}": b"x"}))
    error = refused(site.url("/m.tar.gz"), tmp_path / "model")
    assert (error.failure.reason, name in error.failure.message) == ("SourceInvalid", True)


# ---- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "make"), MAKERS)
def test_the_sum_of_all_files_is_bounded(site: Site, tmp_path: Path, path: str, make: Any) -> None:
    site.routes[path] = sends(make({"model.onnx": bytes(700_000), "w.bin": bytes(700_000)}))
    assert refused(site.url(path), tmp_path / "model").failure.reason == "SourceTooLarge"


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_the_ratio_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 1 << 20)
    bomb = {"model.onnx": bytes(20 << 20)}
    content = tar(bomb) if form == "tar.gz" else packed_zip(bomb)
    error = refusal(content, form, tmp_path, 1 << 40)
    assert error.failure.reason == "SourceTooLarge"
    assert "200 times" in error.failure.message


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_the_number_of_files_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 10)
    many = {f"{number}": b"" for number in range(11)}
    content = tar(many) if form == "tar.gz" else packed_zip(many)
    assert "more than 10" in refusal(content, form, tmp_path).failure.message


def test_folders_without_end_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 10)
    content = tar_of(*((special(f"d{number}", tarfile.DIRTYPE), b"") for number in range(11)))
    assert "more than 10" in refusal(content, "tar.gz", tmp_path).failure.message


def test_a_long_name_does_not_fill_the_memory(tmp_path: Path) -> None:
    """The name of a file may be of any length in a tar, and a reader takes it whole."""
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "x" * (64 << 20)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as packed:
        packed.addfile(info)
    content = out.getvalue()
    tracemalloc.start()
    try:
        error = refusal(content, "tar.gz", tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert "headers" in error.failure.message


def test_the_directory_of_a_zip_does_not_fill_the_memory(tmp_path: Path) -> None:
    out = io.BytesIO(bytes(46 << 17))
    size = len(out.getvalue())
    out.seek(0, io.SEEK_END)
    out.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, size, 0, 0))
    assert "directory" in refusal(out.getvalue(), "zip", tmp_path).failure.message


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_ways_to_pack_that_need_any_memory(tmp_path: Path, compression: int) -> None:
    assert "deflate" in refusal(packed_zip(FILES, compression), "zip", tmp_path).failure.message


# ---- broken ones -----------------------------------------------------------------------------------------------------


def damaged() -> list[tuple[str, bytes]]:
    good = tar({"model.onnx": BODY})
    plain = tar({"model.onnx": BODY}, "w")
    zipped = packed_zip(FILES)
    wrong = bytearray(packed_zip(FILES, zipfile.ZIP_STORED))
    wrong[100] ^= 1
    return [
        ("tar.gz", b""),
        ("tar.gz", b"<html>"),
        ("tar.gz", good[: len(good) // 2]),
        ("tar.gz", good[:-8] + bytes(8)),
        ("tar.gz", plain),
        ("tar", plain[: len(plain) // 2]),
        ("tar", b"x" * 2000),
        ("zip", b""),
        ("zip", zipped[: len(zipped) // 2]),
        ("zip", bytes(wrong)),
        ("zip", good),
    ]


@pytest.mark.parametrize(("form", "content"), damaged(), ids=range(len(damaged())))
def test_what_is_no_archive(tmp_path: Path, form: str, content: bytes) -> None:
    assert refusal(content, form, tmp_path).failure.reason == "SourceInvalid"


def test_an_encrypted_zip(tmp_path: Path) -> None:
    content = bytearray(packed_zip({"x": b"x"}))
    content[content.index(b"PK\1\2") + 8] |= 1
    assert "encrypted" in refusal(bytes(content), "zip", tmp_path).failure.message


def outcome(content: bytes, form: str, folder: Path) -> str:
    try:
        unpack(content, form, folder)
    except StageError as error:
        return error.failure.reason
    return ""


def test_a_flipped_byte_never_does_harm(tmp_path: Path) -> None:
    """Whatever is changed in an archive: it unpacks below its folder, or is refused by one sentence."""
    reasons: set[str] = set()
    for form, good in (
        ("tar", tar({"a/model.onnx": b"x" * 600, "b": b"y"}, "w")),
        ("zip", packed_zip({"a/m": b"x" * 60})),
    ):
        good = good[: 512 * 6] if form == "tar" else good
        for place in range(0, len(good), 7 if form == "tar" else 1):
            for value in (0xFF, 0x2F):
                content = bytearray(good)
                content[place] ^= value
                folder = tmp_path / f"{form}{place}-{value}"
                folder.mkdir()
                reasons.add(outcome(bytes(content), form, folder))
                assert all(
                    path == folder / "packed" or path.is_relative_to(folder / "out") for path in folder.iterdir()
                )
    assert reasons <= {"", "SourceInvalid", "SourceTooLarge"}
