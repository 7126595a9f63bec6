n=$(printf 'n%.0s' $(seq 60)); mkdir -p t/$n/$n; echo 1 > t/f; ln t/f t/hard; ln -s f t/soft; chmod 4711 t/f; chown 11:22 t/f
find t -exec touch -h -d 2007-07-07T07:07:07.5Z {} +
tar --sort=name --numeric-owner -C t -cf v7.tar --format=v7 f hard soft
echo 2 > t/$n/$n/$n; ln -s $n/$n/$n t/long; touch -h -d 2007-07-07T07:07:07Z t/$n/$n/$n t/long t/$n/$n
tar --sort=name --numeric-owner -C t -cf ustar.tar --format=ustar f hard soft $n
for f in gnu posix; do tar --sort=name --numeric-owner -C t -cf $f.tar --format=$f .; done; rm -r t
