mkdir d; echo 1 > file; echo 2 > d/f
python3 -c 'import os
for path in ["file", "d", "d/f"]: os.setxattr(path, "user.note", b"kept")'
