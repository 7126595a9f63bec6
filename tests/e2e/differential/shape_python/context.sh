mkdir tests; echo flask > requirements.txt; echo x > app.py; echo y > tests/t.py
