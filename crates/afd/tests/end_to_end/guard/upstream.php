<?php
// An API in PHP that tells what has reached it. PHP knows header fields as CGI does, and takes dots for underscores.
$headers = [];
foreach ($_SERVER as $name => $value) {
    if (str_starts_with($name, 'HTTP_')) {
        $headers[str_replace('_', '-', strtolower(substr($name, 5)))] = $value;
    }
}
header('Content-Type: application/json');
$report = ['method' => $_SERVER['REQUEST_METHOD'], 'path' => $_SERVER['REQUEST_URI'], 'headers' => $headers];
$report['body'] = file_get_contents('php://input');
echo json_encode($report, JSON_INVALID_UTF8_SUBSTITUTE);
