truncate -s 2M sparse; printf y | dd of=sparse bs=1 seek=1000000 conv=notrunc 2> /dev/null
