mkdir -p dir/sub/empty dir2/sub
echo f > dir/file; echo g > dir/sub/file; echo h > dir2/sub/other
chmod 2750 dir/sub; chmod 600 dir/file; ln -s file dir/link; ln -s /etc/passwd dir/absolute
touch -d 2005-05-05T05:05:05Z dir/file dir/sub/file dir/sub; touch -h -d 2006-06-06T06:06:06Z dir/link
