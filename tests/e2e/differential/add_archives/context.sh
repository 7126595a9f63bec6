mkdir -p t/sub; echo 1 > t/file; chmod 4750 t/file; chown 11:22 t/file; ln t/file t/hard; ln -s file t/soft
echo 2 > t/sub/f; chmod 1777 t/sub; mkfifo t/fifo
find t -exec touch -h -d 2007-07-07T07:07:07Z {} +
for f in "plain.tar:" "gz.tar.gz:z" "xz.tar.xz:J" "bz2.tar.bz2:j"; do tar --sort=name -C t -c${f#*:}f ${f%:*} .; done
rm -r t
