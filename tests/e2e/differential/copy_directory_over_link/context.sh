mkdir -p tree/sub; echo 1 > tree/sub/f
