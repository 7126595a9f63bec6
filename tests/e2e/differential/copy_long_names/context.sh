n=$(printf 'n%.0s' $(seq 120)); mkdir -p $n/$n/$n; echo 1 > $n/$n/$n/${n}${n}x; ln -s $n/$n/$n/$n/$n link
echo 2 > $(printf 'f%.0s' $(seq 255)); echo 3 > $(printf 'h%.0s' $(seq 99)); echo 4 > $(printf 'h%.0s' $(seq 100)); echo 5 > $(printf 'h%.0s' $(seq 101))
