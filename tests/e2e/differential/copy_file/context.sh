echo 1 > one; chmod 640 one; touch -d 2003-03-03T03:03:03Z one
echo 2 > two; chmod 4755 two; touch -d 2004-04-04T04:04:04Z two
