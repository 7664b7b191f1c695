"""A stand-in for S3 on loopback: prints its port, and ends with its standard input.

With "auth", it lets nobody in but the user that it made, whose key it prints too.
"""

import os
import sys

# Calls that are let through before keys are looked at: those that make the user below.
if "auth" in sys.argv:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

import boto3
from moto.server import ThreadedMotoServer

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
sys.stdin.read()
server.stop()
