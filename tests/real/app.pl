# A web app for tests: says the name that its environment gives it, keeps connections, takes what is
# posted, and says again what it is told over a WebSocket. Told to end, it takes nothing new and finishes
# what is under way; RUDE, it ends at once. LATE, it does not listen for so many seconds.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

my $name   = $ENV{NAME} // 'app';
sleep $ENV{LATE} if $ENV{LATE};
my $listen = IO::Socket::INET->new(LocalPort => $ENV{PORT} // 80, Listen => 128, ReuseAddr => 1) or die "its port: $!";
my $select = IO::Select->new($listen);
my (%read, %later, %socket);
my $is_over = 0;
$SIG{TERM} = sub { exit 1 if $ENV{RUDE}; $is_over = 1 };
$SIG{PIPE} = 'IGNORE';

sub gone {
    my ($client) = @_;
    $select->remove($client);
    delete $_->{$client} for \%read, \%later, \%socket;
    close $client;
}

sub answer {
    my ($client, $status) = @_;
    my $close = $is_over ? "connection: close\r\n" : '';
    syswrite $client, "HTTP/1.1 $status\r\n${close}content-length: " . length($name) . "\r\n\r\n$name";
    gone($client) if $is_over;
}

sub take {
    my ($client) = @_;
    while ($read{$client} =~ /\A(.*?)\r\n\r\n/s) {
        my ($head, $length) = ($1, 0);
        $length = $1 if $head =~ /^content-length: *(\d+)/im;
        return if length($read{$client}) < length($head) + 4 + $length;
        substr($read{$client}, 0, length($head) + 4 + $length) = '';
        if ($head =~ /^upgrade: *websocket/im) {
            # Of the one key that its clients have the answer is known (RFC 6455, 1.3).
            my ($key) = $head =~ /^sec-websocket-key: *(\S+)/im;
            return answer($client, '400 Bad Request') if ($key // '') ne 'dGhlIHNhbXBsZSBub25jZQ==';
            $socket{$client} = 1;
            syswrite $client, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                . "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            return;
        } elsif ($head =~ m{\A\S+ /slow}) {
            $later{$client} = [$client, time + 2];
        } elsif ($head =~ m{\A\S+ /health} && $ENV{SICK}) {
            answer($client, '503 Sick');
        } else {
            answer($client, '200 OK');
        }
        return unless defined $read{$client};
    }
}

# Say again what is told in short frames (RFC 6455, 5.2), and end when the other one does.
sub hear {
    my ($client) = @_;
    while (length($read{$client}) >= 6) {
        my ($kind, $length) = map { $_ & 0x7f } unpack 'CC', $read{$client};
        return if length($read{$client}) < 6 + $length;
        my ($mask, $told) = unpack "x2 a4 a$length", substr($read{$client}, 0, 6 + $length, '');
        $told ^= substr($mask x ($length / 4 + 1), 0, $length);
        syswrite $client, pack('CC', 0x80 | $kind, $length) . $told;
        return gone($client) if ($kind & 0x0f) == 8;
    }
}

# Going away (RFC 6455, 7.4.1).
sub goodbye { syswrite $_[0], pack 'CCn', 0x88, 2, 1001 }

while (1) {
    if ($is_over && $listen) {
        $select->remove($listen);
        close $listen;
        undef $listen;
        # Those who wait for nothing, and those who would never end.
        my @idle = grep { !$later{$_} && ($socket{$_} || $read{$_} eq '') } $select->handles;
        for (@idle) { goodbye($_) if $socket{$_}; gone($_) }
    }
    last if $is_over && !$select->count;
    for my $ready ($select->can_read(0.05)) {
        if ($listen && $ready == $listen) {
            my $client = $listen->accept or next;
            $select->add($client);
            $read{$client} = '';
            next;
        }
        my $count = sysread $ready, my $bytes, 65536;
        if (!$count) { gone($ready); next }
        $read{$ready} .= $bytes;
        $socket{$ready} ? hear($ready) : take($ready);
    }
    for my $due (grep { $_->[1] <= time } values %later) {
        delete $later{ $due->[0] };
        answer($due->[0], '200 OK');
    }
}
