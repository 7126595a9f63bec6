cp /bin/busybox tool
setcap cap_net_raw+ep tool
mkdir tools
cp /usr/sbin/setcap tools/
for library in $(ldd /usr/sbin/setcap | grep -o '/[^ ]*'); do cp -L $library tools/; done
mv tools/ld-linux* tools/ld.so
