echo 1 > ä; echo 2 > öffentlich; mkdir 日本; echo 3 > 日本/語; echo 4 > 🚜; echo 5 > 'große datei.txt'; echo 6 > "$(printf 'e\314\201')"
