python3 -c 'import tarfile, io
t = tarfile.open("a.tar", "w")
l = tarfile.TarInfo("l"); l.type = tarfile.SYMTYPE; l.linkname = "sub"; l.mtime = 1e9
t.addfile(l)
d = tarfile.TarInfo("sub"); d.type = tarfile.DIRTYPE; d.mode = 0o755; d.mtime = 1e9
t.addfile(d)
i = tarfile.TarInfo("l/f"); i.size = 1; i.mtime = 1e9
t.addfile(i, io.BytesIO(b"1"))
t.close()'
