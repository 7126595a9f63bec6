ln -s ../../../../../../etc/passwd outside
