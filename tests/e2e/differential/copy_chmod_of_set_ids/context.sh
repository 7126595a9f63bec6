mkdir -p tree/sub; chmod 2775 tree/sub; echo 1 > setuid; chmod 4755 setuid; echo 2 > file; echo 3 > tree/f; chmod 600 tree/f; ln -s f tree/l
