"""Downloads one attachment and prints what came.

Usage: client_download.py BASE_URL SCRIPT_NAME CA ID < key
"""
import sys

from shotgun_api3 import Shotgun

base_url, script_name, ca, number = sys.argv[1:5]
key = sys.stdin.readline().rstrip("\n")
sg = Shotgun(base_url, script_name=script_name, api_key=key, ca_certs=ca)
sys.stdout.write(sg.download_attachment(int(number)).decode())
