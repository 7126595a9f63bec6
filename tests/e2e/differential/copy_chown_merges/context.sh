mkdir -p d/sub; echo 1 > d/sub/f; chmod 750 d/sub
