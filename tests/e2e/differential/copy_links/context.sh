mkdir dir links; echo c > file; echo d > dir/inside
ln -s file link; ln -s dir dirlink; ln -s ../file links/up; ln -s nowhere links/dangling; ln -s / links/root
