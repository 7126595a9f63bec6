import http.server
import os

from hello.greeting import greeting


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write((greeting() + "\n").encode())


def main():
    http.server.HTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
