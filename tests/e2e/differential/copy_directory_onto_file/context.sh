mkdir -p tree/name; echo 1 > tree/name/f
