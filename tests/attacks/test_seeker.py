import torch
from torch import nn

from moosearch.attacks.seeker import RowSeeker
from moosearch.models import RobustNet
from moosearch.seeding import torch_generator


class Watch(RowSeeker):
    """Looks at what it is given, and adds a tenth."""

    def find(self, classify, x, y, *, generator):
        self.given = x, y, classify(x)
        return x + 0.1


def test_what_libraries_count_on_goes_in_and_the_callers_format_comes_out():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = RobustNet(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), 16, 3, [5]).double().eval()
    x = torch.rand(6, 3, 4, 4, generator=torch_generator(0), dtype=torch.float64)
    x, y, rows = x.contiguous(memory_format=torch.channels_last), torch.arange(6) % 5, torch.tensor([4, 1])
    attack = Watch()
    with torch.no_grad():
        found = attack.seek(net, x, (y,), rows=rows, generator=torch_generator(0))
        images, labels, logits = attack.given
        torch.testing.assert_close(logits, net(x[rows]).float())
    assert images.is_contiguous()
    assert images.dtype == logits.dtype == torch.float32
    assert labels.tolist() == [4, 1]
    assert found.dtype == x.dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, x[rows] + 0.1, atol=1e-6, rtol=0)
