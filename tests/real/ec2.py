"""EC2 as somebody else's client sees it, and the part of a hypervisor that moto does not have.

ec2.py ENDPOINT instances N    run N instances; their ids, a line each
ec2.py ENDPOINT tag ID KEY VALUE
                               put a tag on anything
ec2.py ENDPOINT state          volumes, snapshots and instances, as one JSON text
ec2.py ENDPOINT hypervisor DIR give every attached volume a device, until killed; with a file
                               DIR/late only so many seconds after it was attached
ec2.py ENDPOINT group NAME KIND [used] [ID PORT]
                               make a target group of instances (`instance`) or addresses (`ip`);
                               one that is `used` has a load balancer, and a target. Its ARN
ec2.py ENDPOINT targets NAME   the targets of a group, `ID:PORT`, a line each
ec2.py ENDPOINT user NAME ACTION…
                               make a user who may do this and no more; the access key, the secret
                               key, and an ENDPOINT that asks as this user
ec2.py ENDPOINT guard          from now on, let everybody do only what they may
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import boto3

DEVICES = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"


def tags(resource):
    return {t["Key"]: t["Value"] for t in resource.get("Tags", []) if ":" not in t["Key"]}


def instances(ec2, count):
    image = ec2.describe_images()["Images"][0]["ImageId"]
    for _ in range(int(count)):
        made = ec2.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, Placement={"AvailabilityZone": "us-east-1a"}
        )
        print(made["Instances"][0]["InstanceId"])


def tag(ec2, resource, key, value):
    ec2.create_tags(Resources=[resource], Tags=[{"Key": key, "Value": value}])


def group(ec2, elb, name, kind, *used):
    subnets = ec2.describe_subnets()["Subnets"]
    made = elb.create_target_group(
        Name=name, Protocol="HTTP", Port=80, VpcId=subnets[0]["VpcId"], TargetType=kind
    )
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "1"}
    elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=[delay])
    if used:
        _, target, port = used
        balancer = elb.create_load_balancer(
            Name=name, Subnets=[subnet["SubnetId"] for subnet in subnets[:2]]
        )
        elb.create_listener(
            LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
        )
        elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": target, "Port": int(port)}])
    print(arn)


def targets(ec2, elb, name):
    arn = elb.describe_target_groups(Names=[name])["TargetGroups"][0]["TargetGroupArn"]
    for one in elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]:
        print(f"{one['Target']['Id']}:{one['Target']['Port']}")


def state(ec2):
    roots = set()
    running = {}
    for reservation in ec2.describe_instances()["Reservations"]:
        for one in reservation["Instances"]:
            running[one["InstanceId"]] = one["State"]["Name"]
            roots |= {m["Ebs"]["VolumeId"] for m in one.get("BlockDeviceMappings", [])
                      if m["DeviceName"] == one.get("RootDeviceName")}
    volumes = {
        one["VolumeId"]: {
            "size": one["Size"],
            "speed": [one.get("Iops"), one.get("Throughput")],
            "encrypted": one["Encrypted"],
            "state": one["State"],
            "tags": tags(one),
            "attached": [[a["InstanceId"], a["Device"], a["State"]] for a in one["Attachments"]],
        }
        for one in ec2.describe_volumes()["Volumes"]
        if one["VolumeId"] not in roots
    }
    snapshots = {
        one["SnapshotId"]: {"volume": one["VolumeId"], "tags": tags(one)}
        for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        if one["VolumeId"] not in roots and tags(one)
    }
    print(json.dumps({"volumes": volumes, "snapshots": snapshots, "instances": running}))


def copy(source, target):
    run("cp", "--sparse=always", source, target + ".part")
    os.rename(target + ".part", target)


def run(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()


class Hypervisor:
    """Each volume is a file; attached, a loop device under the name that EC2 gives it."""

    def __init__(self, ec2, directory):
        self.ec2, self.directory, self.loops, self.places = ec2, directory, {}, {}

    def file(self, name):
        return os.path.join(self.directory, name + ".img")

    def turn(self):
        volumes = self.ec2.describe_volumes()["Volumes"]
        sources = {s["SnapshotId"]: s["VolumeId"] for s in self.own_snapshots()}
        for snapshot, volume in sources.items():
            if not os.path.exists(self.file(snapshot)) and os.path.exists(self.file(volume)):
                copy(self.file(volume), self.file(snapshot))
        for volume in volumes:
            self.volume(volume)
        known = {volume["VolumeId"] for volume in volumes}
        for gone in set(self.loops) - known:
            self.detach(gone)

    def own_snapshots(self):
        return self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]

    def volume(self, volume):
        name, path = volume["VolumeId"], self.file(volume["VolumeId"])
        if not os.path.exists(path):
            source = self.file(volume.get("SnapshotId") or "none")
            if os.path.exists(source):
                copy(source, path)
            run("truncate", "--size", str(volume["Size"]) + "G", path)
        place = [attachment["InstanceId"] for attachment in volume["Attachments"]]
        if self.places.get(name, ([], 0))[0] != place:
            self.places[name] = place, time.monotonic()
            if name in self.loops:
                self.detach(name)
        if place and name not in self.loops and self.is_time(name):
            self.loops[name] = run("losetup", "--find", "--show", path)
            os.makedirs(os.path.dirname(DEVICES), exist_ok=True)
            os.symlink(self.loops[name], self.link(name))

    def is_time(self, name):
        late = os.path.join(self.directory, "late")
        seconds = float(open(late).read()) if os.path.exists(late) else 0
        return time.monotonic() - self.places[name][1] >= seconds

    def link(self, name):
        return DEVICES + name.replace("-", "")

    def detach(self, name):
        os.unlink(self.link(name))
        run("losetup", "--detach", self.loops.pop(name))


def hypervisor(ec2, directory):
    machine = Hypervisor(ec2, directory)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            machine.turn()
            time.sleep(0.1)
    finally:
        for name in list(machine.loops):
            machine.detach(name)


class Asked:
    """An endpoint, and whose keys it is asked with: `http://KEY:SECRET@HOST:PORT`."""

    def __init__(self, endpoint):
        parts = urllib.parse.urlsplit(endpoint)
        self.place = parts.netloc.rpartition("@")[2]
        self.keys = [urllib.parse.unquote(parts.username or "testing"),
                     urllib.parse.unquote(parts.password or "testing")]

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url="http://" + self.place,
            region_name="us-east-1",
            aws_access_key_id=self.keys[0],
            aws_secret_access_key=self.keys[1],
        )

    def user(self, name, *actions):
        iam = self.client("iam")
        iam.create_user(UserName=name)
        allow = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        keys = [made["AccessKeyId"], made["SecretAccessKey"]]
        quoted = [urllib.parse.quote(key, safe="") for key in keys]
        print(*keys, "http://" + ":".join(quoted) + "@" + self.place)

    def guard(self):
        # moto counts how many calls it lets everybody make (moto docs, *IAM-like access control*).
        url = "http://" + self.place + "/moto-api/reset-auth"
        text = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, data=b"0", headers=text)).close()


if __name__ == "__main__":
    endpoint, what, *rest = sys.argv[1:]
    asked = Asked(endpoint)
    if what in ("user", "guard"):
        getattr(asked, what)(*rest)
    elif what in ("group", "targets"):
        balanced = {"group": group, "targets": targets}
        balanced[what](asked.client("ec2"), asked.client("elbv2"), *rest)
    else:
        functions = {"instances": instances, "state": state, "tag": tag, "hypervisor": hypervisor}
        functions[what](asked.client("ec2"), *rest)
