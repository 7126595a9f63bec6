mkdir tree; echo 1 > tree/name
