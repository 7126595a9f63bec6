// set-xattr FILE NAME VALUE, for steps: it needs no library of its root, and busybox has no such
// applet.
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  if (setxattr(argv[1], argv[2], argv[3], strlen(argv[3]), 0) == 0) return 0;
  perror(argv[1]);
  return 1;
}
