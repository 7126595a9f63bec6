echo x > main.go
