"""Integrity of files that ``torch.save`` wrote: every byte is compared with a checksum or its own copy.

torch itself compares no checksum when it reads. Its files are zip archives of uncompressed members in a row, each with
a header, padding, its bytes and their checksum, and a list of all members at the end.
"""

import mmap
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

LOCAL = struct.Struct("<4s5H3I2H")  # before a member
LISTED = struct.Struct("<4s6H3I5H2I")  # its entry in the list of members
DESCRIPTORS = (struct.Struct("<4s3I"), struct.Struct("<4sIQQ"))  # after it
END = struct.Struct("<4s4H2IH")
END_64, LOCATOR_64 = struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
FILLING, SIZES_64 = b"FB", b"\x01\x00"  # kinds of additional fields before a member
SIZES_BEHIND = 8  # flag: checksum and sizes follow the member, and are 0 before it
LARGEST_16, LARGEST_32 = 0xFFFF, 0xFFFFFFFF


def check_archive(path: Path, contents: bool = True) -> None:
    """Compare every byte of a file of ``torch.save`` with a checksum, or with what torch writes.

    Args:
        path: the file, which begins as a zip archive.
        contents: False: only check that it does not end too early.

    Raises:
        ValueError: worded to follow the file's name, if it is damaged.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                with zipfile.ZipFile(file) as archive:
                    members, listed = archive.infolist(), archive.start_dir
            except zipfile.BadZipFile as error:
                raise ValueError("ends too early") from error
            if not contents:
                return
            _check_members(content, members, listed)
            _check_list(content, members, listed)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeError, OverflowError) as error:
        raise ValueError(f"is damaged ({error})") from error


def check_checksums(path: Path) -> None:
    """Compare the members of a file with their checksums, whichever torch saved it; a ValueError if damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [member.filename for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED]
            damaged = packed[0] if packed else archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeError, OverflowError, EOFError) as error:
        raise ValueError(f"{path}: is damaged ({error})") from error
    if damaged is not None:
        raise ValueError(f"{path}: is damaged (the checksum of {damaged} differs)")


def _check_members(content: mmap.mmap, members: Sequence[zipfile.ZipInfo], listed: int) -> None:
    """Compare each member with its checksum, and refuse other bytes between the members."""
    end = 0
    ordered = sorted(members, key=lambda member: member.header_offset)
    following = [*(member.header_offset for member in ordered[1:]), listed]
    for member, beyond in zip(ordered, following, strict=True):
        data = _data_start(content, member, end)
        end = data + member.file_size
        if member.compress_type != zipfile.ZIP_STORED or end > beyond:
            raise ValueError(f"is damaged ({member.filename} is not stored as torch stores it)")
        if _checksum(content, data, end) != member.CRC:
            raise ValueError(f"is damaged (the checksum of {member.filename} differs)")
        if member.flag_bits & SIZES_BEHIND:
            described = (b"PK\x07\x08", member.CRC, member.compress_size, member.file_size)
            sizes = {form.size: form for form in DESCRIPTORS}
            form = sizes.get(beyond - end)
            if form is None or form.unpack(content[end:beyond]) != described:
                raise ValueError(f"is damaged (the bytes after {member.filename})")
            end = beyond
    if end != listed:
        raise ValueError("is damaged (it holds more than its members)")


def _checksum(content: mmap.mmap, start: int, end: int) -> int:
    with memoryview(content) as view, view[start:end] as whole:
        return zlib.crc32(whole)


def _data_start(content: mmap.mmap, member: zipfile.ZipInfo, expected: int) -> int:
    """Compare a member's header with the list, and return where its bytes begin."""
    start = member.header_offset
    header = LOCAL.unpack(content[start : start + LOCAL.size])
    name_length, extra_length = header[-2:]
    behind = bool(member.flag_bits & SIZES_BEHIND)
    sizes = (0, 0, 0) if behind else (member.CRC, member.compress_size, member.file_size)
    wanted = (b"PK\x03\x04", member.extract_version, member.flag_bits, member.compress_type, 0, 0)
    name_start = start + LOCAL.size
    extra_start = name_start + name_length
    data_start = extra_start + extra_length
    same = start == expected and header[:6] == wanted and (header[6:9] == sizes or LARGEST_32 in header[6:9])
    if not same or content[name_start:extra_start] != member.filename.encode():
        raise ValueError(f"is damaged (the header of {member.filename})")
    extra = content[extra_start:data_start]
    while extra:
        kind, length = struct.unpack("<2sH", extra[:4])
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if len(field) != length or (kind != SIZES_64 and (kind != FILLING or field.strip(b"Z"))):
            raise ValueError(f"is damaged (the padding before {member.filename})")
    return data_start


def _check_list(content: mmap.mmap, members: Sequence[zipfile.ZipInfo], listed: int) -> None:
    """Compare the list of members with torch's format; its sizes, offsets and checksums are already checked."""
    place = listed
    for member in members:
        entry = LISTED.unpack(content[place : place + LISTED.size])
        name, extra, comment, *rest = entry[10:16]
        alike = (b"PK\x01\x02", 0, member.extract_version, member.flag_bits, member.compress_type, 0, 0)
        if entry[:7] != alike or comment or any(rest) or name != len(member.filename.encode()):
            raise ValueError(f"is damaged (the list entry of {member.filename})")
        place += LISTED.size + name + extra
    size, count = place - listed, len(members)
    if members[0].extract_version != 0 or any(m.extract_version not in (0, 45) for m in members):
        raise ValueError("is damaged (the list of members)")
    whole = END_64.pack(b"PK\x06\x06", END_64.size - 12, 0x031E, 45, 0, 0, count, count, size, listed)
    whole += LOCATOR_64.pack(b"PK\x06\x07", 0, place, 1)
    counts, places = min(count, LARGEST_16), (min(size, LARGEST_32), min(listed, LARGEST_32))
    last = END.pack(b"PK\x05\x06", 0, 0, counts, counts, *places, 0)
    if content[place:] not in (whole + last, last):
        raise ValueError("is damaged (its end)")
