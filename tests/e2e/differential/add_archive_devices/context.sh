mkdir t; mknod t/null c 1 3; mknod t/loop b 7 9; mkfifo t/pipe; chmod 640 t/null; touch -d 2007-07-07T07:07:07Z t/null t/loop t/pipe; tar -C t -cf a.tar null loop pipe; rm -r t
