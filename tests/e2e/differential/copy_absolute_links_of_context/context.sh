mkdir -p dir/sub; echo 1 > dir/f; ln -s /dir abs; ln -s /dir/f filelink; ln -s /dir/../dir/sub dir/self
