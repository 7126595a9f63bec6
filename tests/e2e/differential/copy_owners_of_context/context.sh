echo 1 > file; chown 123:456 file; mkdir d; chown 1:1 d; ln -s file l; chown -h 9:9 l
