python3 -c 'import tarfile, io
t = tarfile.open("a.tar", "w")
for name in ["/etc/abs", "./dot", "a//b", "a/./c", "a/../d"]:
  i = tarfile.TarInfo(name); i.size = 1; i.mtime = 1e9
  t.addfile(i, io.BytesIO(b"1"))
t.close()'
