"""The quick way through a plain header says what the standard library says, or nothing."""

import random
import tarfile
from typing import Literal

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from aurora_cli.data.archives.reading.tar_header import plain_header
from tests.archiving import header

FORMS: list[Literal[0, 1, 2]] = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def made(name: str, form: Literal[0, 1, 2], **fields: object) -> bytes:
    member = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf(form, "utf-8", "surrogateescape")[-512:]


@pytest.mark.slow
@given(
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60),
    form=st.sampled_from(FORMS),
    size=st.integers(0, 1 << 40),
    mode=st.integers(0, 0o7777),
    mtime=st.integers(0, 1 << 36),
    kind=st.sampled_from([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
)
def test_a_plain_header_is_read_as_the_standard_library_reads_it(
    name: str, form: Literal[0, 1, 2], size: int, mode: int, mtime: int, kind: bytes
):
    try:
        block = made(name, form, size=size, mode=mode, mtime=mtime, type=kind)
    except ValueError:  # more than the form can say
        reject()
    quick = plain_header(block)
    if quick is not None:
        slow = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        assert (quick.size, quick.mode, quick.mtime) == (slow.size, slow.mode, slow.mtime)
        assert quick.name.rstrip("/") == slow.name.rstrip("/")
        assert kind in (tarfile.REGTYPE, tarfile.AREGTYPE)


@pytest.mark.parametrize("form", FORMS)
def test_the_usual_header_goes_the_quick_way(form: Literal[0, 1, 2]):
    quick = plain_header(made("images/00/1.jpg", form, size=100_000, mode=0o644, mtime=1_700_000_000))
    assert quick == ("images/00/1.jpg", b"0", 100_000, 0o644, 1_700_000_000, "")


@given(position=st.integers(0, 511), bit=st.integers(0, 7))
def test_a_flipped_bit_never_goes_the_quick_way(position: int, bit: int):
    block = bytearray(header(b"images/1.jpg", size=b"00000000144\0"))
    block[position] ^= 1 << bit
    assert plain_header(bytes(block)) is None or position in range(148, 156)


@given(seed=st.integers(0, 1 << 32))
def test_noise_is_no_plain_header(seed: int):
    assert plain_header(random.Random(seed).randbytes(512)) is None


def test_what_the_old_gnu_format_keeps_in_the_prefix_is_no_part_of_the_name():
    block = bytearray(made("a.jpg", tarfile.GNU_FORMAT, size=1))
    block[345:357] = b"14567654321\0"  # the time of its last reading, as `tar -g` writes it
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    quick = plain_header(bytes(block))
    assert quick is not None
    assert quick.name == "a.jpg"
