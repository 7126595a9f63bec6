mkdir -p dir/x; echo 1 > dir/f; echo 2 > dir/x/f; ln -s dir dirlink; ln -s dirlink/x/.. up
