"""Makes the test vectors of layer/table_test.cc from docs/formats/table.md alone."""

import hashlib


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def counted(b):
    return varint(len(b)) + b


def sha(b):
    return hashlib.sha256(b).digest()


def zigzag(n):
    return varint(n * 2 if n >= 0 else -n * 2 - 1)


def attributes(entry, link_flag):
    flags = (0x10 if entry.get("opaque") else 0) | (0x40 if entry.get("xattrs") else 0)
    if link_flag and entry.get("link"):
        flags |= 0x20
    out = bytes([entry["type"] | flags])
    if entry["type"] == 7:
        return out
    out += varint(entry["mode"]) + varint(entry.get("uid", 0)) + varint(entry.get("gid", 0))
    if entry["type"] == 2:
        out += varint(len(entry["bytes"])) + sha(entry["bytes"])
    if entry["type"] == 3:
        out += counted(entry["target"])
    if entry["type"] in (4, 5):
        out += varint(entry["device"][0]) + varint(entry["device"][1])
    if entry.get("xattrs"):
        out += varint(len(entry["xattrs"]))
        for name, value in sorted(entry["xattrs"].items()):
            out += counted(name) + counted(value)
    return out


FILE = dict(
    type=2, mode=0o4755, uid=1000, gid=70000, bytes=b"hello\n", mtime=(1700000000, 5),
    xattrs={b"security.capability": b"\x01\x00\xff", b"user.a": b""})
ENTRIES = [
    (b"d", dict(type=1, mode=0o1777, opaque=True)),
    (b"d/file", FILE),
    (b"d/same", dict(FILE, link=(1, b"d/file"))),
    (b"gone", dict(type=7)),
    (b"loop0", dict(type=5, mode=0o644, device=(1, 3))),
    (b"null", dict(type=4, mode=0o644, device=(1, 3))),
    (b"pipe", dict(type=6, mode=0o644, mtime=(-1, 999999999))),
    (b"sym", dict(type=3, mode=0o777, target=b"../d/file")),
]


def mtime(entry):
    seconds, nanoseconds = entry.get("mtime", (0, 0))
    return zigzag(seconds) + varint(nanoseconds)


def encoding():
    out = b"farmTBL1"
    before = b""
    for path, entry in ENTRIES:
        shared = 0
        while shared < min(len(path), len(before)) and path[shared] == before[shared]:
            shared += 1
        out += varint(shared) + counted(path[shared:]) + attributes(entry, True)
        before = path
        if entry["type"] == 7:
            continue
        out += mtime(entry)
        if entry.get("link"):
            out += varint(entry["link"][0])
    index = len(out)
    out += varint(8) + counted(b"d")
    return out + index.to_bytes(8, "little") + len(ENTRIES).to_bytes(8, "little")


def content_root():
    d = attributes(ENTRIES[0][1], False)
    for path, entry in ENTRIES[1:3]:
        d += counted(path[2:]) + attributes(entry, False)
    root = b"\0" + counted(b"d") + b"\1" + sha(d)
    for path, entry in ENTRIES[3:]:
        root += counted(path) + attributes(entry, False)
    return b"farm content 1\n" + b"\1" + sha(root) + counted(b"d/same") + counted(b"d/file")


def canonical():
    out = b"farm canonical 1\n"
    for path, entry in ENTRIES:
        out += counted(path) + attributes(entry, True)
        if entry["type"] == 7:
            continue
        if 1699999999 <= entry.get("mtime", (0, 0))[0] <= 1700000001:
            out += b"\1"
        else:
            out += b"\0" + mtime(entry)
        if entry.get("link"):
            out += counted(entry["link"][1])
    return out


print("encoding     ", sha(encoding()).hex())
print("content root ", sha(content_root()).hex())
print("content file ", sha(b"farm content 1\n" + attributes(FILE, False)).hex())
print("canonical    ", sha(canonical()).hex())
