echo new > file; chmod 600 file; echo other > elsewhere; ln -s elsewhere link
