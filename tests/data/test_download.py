"""Downloading against a server on this machine: resuming, hashes, and what can go wrong."""

import hashlib
import io
import json
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import processes
import pytest

from ngat.data import download as room
from ngat.data.download import RECORD, STAGE1, download
from ngat.errors import InputError


class Site(ThreadingHTTPServer):
    """Files from memory, with ranges; a list of what was asked; and faults on demand."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {}
        self.asked = []
        self.break_after = None  # bytes after which the connection drops, once per answer
        self.breaks = 0  # how many answers drop
        self.validators = True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        site, data = self.server, self.server.files.get(self.path[1:])
        wanted = self.headers.get("Range")
        if body:
            site.asked.append((self.path[1:], wanted))
        if data is None:
            self.send_error(404)
            return
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = 0
        if wanted and self.headers.get("If-Range", tag) == tag:
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        if site.validators:
            self.send_header("ETag", tag)
        self.end_headers()
        if not body:
            return
        rest = data[start:]
        if site.breaks:
            site.breaks -= 1
            rest = rest[: site.break_after]
            self.close_connection = True
        self.wfile.write(rest)


def content(name, seed=0):
    """A file of its kind, of some 900 KB that do not repeat."""
    noise = np.random.default_rng(seed).bytes(900_000)
    if name.endswith(".csv"):
        return b"ImageId,EncodedPixels\n" + noise.hex().encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a/images/a.png", noise)
    return packed.getvalue()


@pytest.fixture
def site(monkeypatch):
    # No pauses, pieces that a break falls between, no proxy between a test and its own machine.
    monkeypatch.setattr(room, "PAUSE", 0.0)
    monkeypatch.setattr(room, "PIECE", 10_000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Site()
    server.files = {name: content(name) for name in STAGE1}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


NAME = STAGE1[0]


def fetch(site, out, files=(NAME,)):
    return download(out, files=files, site=site.url, progress=False)


def test_files_and_their_hashes_arrive(site, tmp_path):
    assert fetch(site, tmp_path / "new", STAGE1) == tmp_path / "new"
    for name in STAGE1:
        assert (tmp_path / "new" / name).read_bytes() == site.files[name]
    record = json.loads((tmp_path / "new" / RECORD).read_text())
    assert record == {n: hashlib.sha256(site.files[n]).hexdigest() for n in STAGE1}
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == sorted([*STAGE1, RECORD])


def test_what_is_there_is_not_fetched_again(site, tmp_path):
    fetch(site, tmp_path)
    fetch(site, tmp_path)
    assert len(site.asked) == 1


def test_a_broken_connection_goes_on_where_it_stopped(site, tmp_path):
    site.break_after, site.breaks = 100_000, 2
    fetch(site, tmp_path)
    assert (tmp_path / NAME).read_bytes() == site.files[NAME]
    assert site.asked == [(NAME, None), (NAME, "bytes=100000-"), (NAME, "bytes=200000-")]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(site, tmp_path):
    site.break_after, site.breaks = 50_000, room.ATTEMPTS
    with pytest.raises(InputError, match="goes on where it stopped"):
        fetch(site, tmp_path)
    assert not (tmp_path / NAME).exists()
    assert not (tmp_path / RECORD).exists()
    site.asked.clear()
    fetch(site, tmp_path)
    assert site.asked == [(NAME, f"bytes={50_000 * room.ATTEMPTS}-")]
    assert (tmp_path / NAME).read_bytes() == site.files[NAME]


def test_pieces_of_two_versions_are_never_joined(site, tmp_path):
    site.break_after, site.breaks = 50_000, room.ATTEMPTS
    with pytest.raises(InputError):
        fetch(site, tmp_path)
    site.files[NAME] = content(NAME, 1)
    site.asked.clear()
    fetch(site, tmp_path)
    assert site.asked == [(NAME, None)]
    assert (tmp_path / NAME).read_bytes() == site.files[NAME]
    assert not list(tmp_path.glob(".*"))


def test_without_a_version_it_starts_anew(site, tmp_path):
    site.validators, site.break_after, site.breaks = False, 50_000, 1
    fetch(site, tmp_path)
    assert site.asked == [(NAME, None), (NAME, None)]
    assert (tmp_path / NAME).read_bytes() == site.files[NAME]


def test_a_spoilt_file_is_fetched_again(site, tmp_path):
    fetch(site, tmp_path)
    (tmp_path / NAME).write_bytes(b"spoilt")
    fetch(site, tmp_path)
    assert (tmp_path / NAME).read_bytes() == site.files[NAME]


def test_a_file_that_changed_at_the_site_is_refused(site, tmp_path):
    fetch(site, tmp_path)
    record = (tmp_path / RECORD).read_text()
    (tmp_path / NAME).unlink()
    site.files[NAME] = content(NAME, 1)
    with pytest.raises(InputError, match=r"differs from the hash recorded in .*download\.json"):
        fetch(site, tmp_path)
    assert not (tmp_path / NAME).exists()
    assert (tmp_path / RECORD).read_text() == record


def test_a_file_the_site_does_not_have_is_named(site, tmp_path):
    with pytest.raises(InputError, match=r"gone\.zip: 404 .*by hand"):
        fetch(site, tmp_path, ("gone.zip",))


def test_no_connection_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "PAUSE", 0.0)
    with pytest.raises(InputError, match="no connection"):
        download(tmp_path, files=(NAME,), site="http://127.0.0.1:9/", progress=False)


def test_a_spoilt_record_is_named(site, tmp_path):
    for text, says in (
        ("{", "is not JSON"),
        ("[]", "holds no JSON object"),
        ('{"a": 1}', "other things than hash"),
    ):
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(InputError, match=rf"download\.json: .*{says}.*; delete it"):
            fetch(site, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        fetch(site, tmp_path / "file" / "out")


PAGE = b"<!DOCTYPE html>\n<html><body>Please log in.</body></html>"


@pytest.mark.parametrize("name", [STAGE1[0], STAGE1[2]])
def test_a_login_page_is_not_the_data_set(site, tmp_path, name):
    whole, site.files[name] = site.files[name], PAGE
    with pytest.raises(InputError, match=r"gave no .* begins with '<!DOCTYPE html>', perhaps"):
        fetch(site, tmp_path, (name,))
    assert not list(tmp_path.iterdir()), "neither kept nor recorded"
    site.files[name] = whole
    fetch(site, tmp_path, (name,))
    assert (tmp_path / name).read_bytes() == whole


def test_a_login_page_that_was_kept_is_fetched_again(site, tmp_path):
    """As versions before this one recorded it."""
    (tmp_path / NAME).write_bytes(PAGE)
    (tmp_path / RECORD).write_text(json.dumps({NAME: hashlib.sha256(PAGE).hexdigest()}))
    fetch(site, tmp_path)
    assert (tmp_path / NAME).read_bytes() == site.files[NAME]
    record = json.loads((tmp_path / RECORD).read_text())
    assert record == {NAME: hashlib.sha256(site.files[NAME]).hexdigest()}


def test_a_file_fetched_by_hand_is_not_held_to_the_hash_of_a_login_page(site, tmp_path):
    """The message says: get the file by hand."""
    (tmp_path / NAME).write_bytes(PAGE)
    (tmp_path / RECORD).write_text(json.dumps({NAME: hashlib.sha256(PAGE).hexdigest()}))
    whole, site.files[NAME] = site.files[NAME], PAGE
    with pytest.raises(InputError, match="get the file by hand"):
        fetch(site, tmp_path)
    (tmp_path / NAME).write_bytes(whole)
    fetch(site, tmp_path)
    assert (tmp_path / NAME).read_bytes() == whole


def test_a_truncated_zip_is_no_zip(site, tmp_path):
    site.files[NAME] = site.files[NAME][:500_000]
    with pytest.raises(InputError, match="gave no zip archive"):
        fetch(site, tmp_path)


def test_two_downloads_into_one_folder(site, tmp_path):
    code = """
import sys, time
from pathlib import Path
from ngat.system.files import held
with held("d", "a download"):
    Path("begun").touch()
    time.sleep(60)
"""
    other = processes.start(code, cwd=tmp_path)
    processes.wait_for((tmp_path / "begun").exists, other)
    with pytest.raises(InputError, match="another process works on a download there"):
        fetch(site, tmp_path / "d")
    other.kill()
    other.communicate()
    fetch(site, tmp_path / "d")
    assert (tmp_path / "d" / NAME).exists()
