mkdir -p empty tree/etc/conf.d tree/usr/share; chmod 700 tree/etc; echo 1 > tree/etc/conf.d/f
touch -d 2008-08-08T08:08:08Z tree/etc empty
