# A web app for tests: says the name that its environment gives it, keeps connections, takes what is
# posted, and tunnels after an upgrade. Told to end, it takes nothing new and finishes what is under way.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

my $name   = $ENV{NAME} // 'app';
my $listen = IO::Socket::INET->new(LocalPort => 80, Listen => 128, ReuseAddr => 1) or die "port 80: $!";
my $select = IO::Select->new($listen);
my (%read, %later, %tunnel);
my $is_over = 0;
$SIG{TERM} = sub { $is_over = 1 };
$SIG{PIPE} = 'IGNORE';

sub gone {
    my ($client) = @_;
    $select->remove($client);
    delete $_->{$client} for \%read, \%later, \%tunnel;
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
        if ($head =~ /^upgrade:/im) {
            $tunnel{$client} = 1;
            syswrite $client, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        } elsif ($head =~ m{\A\S+ /slow}) {
            $later{$client} = [$client, time + 1];
        } elsif ($head =~ m{\A\S+ /health} && $ENV{SICK}) {
            answer($client, '503 Sick');
        } else {
            answer($client, '200 OK');
        }
        return unless defined $read{$client};
    }
}

while (1) {
    if ($is_over && $listen) {
        $select->remove($listen);
        close $listen;
        undef $listen;
        # Those who wait for nothing, and those who would never end.
        gone($_) for grep { !$later{$_} && ($tunnel{$_} || $read{$_} eq '') } $select->handles;
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
        if ($tunnel{$ready}) { syswrite $ready, $bytes; next }
        $read{$ready} .= $bytes;
        take($ready);
    }
    for my $due (grep { $_->[1] <= time } values %later) {
        delete $later{ $due->[0] };
        answer($due->[0], '200 OK');
    }
}
