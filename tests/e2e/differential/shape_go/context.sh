mkdir -p cmd/server; echo 'module x' > go.mod; echo main > cmd/server/main.go
