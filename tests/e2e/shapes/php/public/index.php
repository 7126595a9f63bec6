<?php
$owner = posix_getpwuid(posix_geteuid())['name'];
echo "hello from php as $owner with ", ini_get('memory_limit'), ' in ', getenv('DOCUMENT_ROOT'), "\n";
