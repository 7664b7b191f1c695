"""A stand-in for S3 on loopback: prints its port, and ends with its standard input.

With "auth", it lets nobody in but the user that it made, whose key it prints too.

A line "flip NAME" or "cut NAME" on standard input makes it lie from then on: it gives the object whose name ends so with another bit in
its middle, or its first half alone. "honest" ends that. Each is answered by a line "done".
"""

import os
import sys

# Calls that are let through before keys are looked at: those that make the user below.
if "auth" in sys.argv:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

import boto3
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer

lie = ["honest"]
get_object = S3Response.get_object


def lying(response):
    status, headers, body = get_object(response)
    middle = len(body) // 2
    if status == 200 and lie[0] != "honest" and response.path.endswith(lie[1]):
        rest = bytes([body[middle] ^ 1]) + body[middle + 1 :] if lie[0] == "flip" else b""
        body = body[:middle] + rest
        headers["content-length"] = str(len(body))
    return status, headers, body


S3Response.get_object = lying

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
told = [str(port)]
options = {
    "endpoint_url": f"http://127.0.0.1:{port}",
    "region_name": "us-east-1",
    "aws_access_key_id": "any",
    "aws_secret_access_key": "any",
}
if "auth" in sys.argv:
    iam = boto3.client("iam", **options)
    iam.create_user(UserName="archivist")
    key = iam.create_access_key(UserName="archivist")["AccessKey"]
    told += [key["AccessKeyId"], key["SecretAccessKey"]]
    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
    iam.put_user_policy(UserName="archivist", PolicyName="all", PolicyDocument=policy)
boto3.client("s3", **options).create_bucket(Bucket="audit")
print(*told, flush=True)
for line in sys.stdin:
    lie = line.split()
    print("done", flush=True)
server.stop()
