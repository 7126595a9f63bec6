mkdir -p d/sub; echo new > d/file; echo new > d/sub/file; chmod 711 d/sub
