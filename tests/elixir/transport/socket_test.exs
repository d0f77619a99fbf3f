defmodule DSPex.Transport.SocketTest do
  use ExUnit.Case, async: true

  alias DSPex.Error
  alias DSPex.Test.Peer
  alias DSPex.Test.Wait
  alias DSPex.Transport.Socket

  @moduletag timeout: 120_000

  defp start(name, options) do
    name = Module.concat(__MODULE__, name)
    pool = [workers: 1, transport: {Socket, options}, backoff: [first: 20, most: 100], backoff_reset: 0]
    start_supervised!({DSPex, name: name, pools: [default: pool]})
    name
  end

  defp echo(instance, value), do: DSPex.request("echo", [{"value", value}], instance: instance, timeout: 60_000)

  @tag req: ["FR2.2.3", "FR2.1.4"]
  test "a worker on a Unix socket is reached, lost with its process, and found again" do
    path = Path.join(System.tmp_dir!(), "dspex-#{System.pid()}-#{System.unique_integer([:positive])}.sock")
    on_exit(fn -> File.rm(path) end)
    instance = start(:Unix, unix: path)
    assert {:error, %Error{reason: :unavailable, message: message}} = DSPex.await_ready(instance)
    assert message =~ "no worker listens on #{path}"
    {server, _port} = Peer.listen(large(), ifaddr: {:local, path})
    assert {:ok, %{"value" => [1]}} = Wait.eventually(fn -> echo(instance, [1]) end)
    big = DSPex.Bytes.new(:binary.copy(<<0, 255>>, 4_000_000))
    assert {:ok, %{"value" => ^big}} = echo(instance, big)
    calls = for n <- 1..50, do: Task.async(fn -> echo(instance, n) end)
    assert Enum.map(calls, &Task.await(&1, 60_000)) == for(n <- 1..50, do: {:ok, %{"value" => n}})
    held = Task.async(fn -> DSPex.request("hold", [], instance: instance) end)
    send(server, :stop)
    assert {:error, %Error{reason: :worker_lost}} = Task.await(held, 60_000)
    File.rm!(path)
    {_server, _port} = Peer.listen(large(), ifaddr: {:local, path})
    assert {:ok, %{"value" => 2}} = Wait.eventually(fn -> echo(instance, 2) end)
  end

  defp large do
    %{
      "hold" => fn _link, _id, _params -> :ok end,
      "initialize" => fn link, id, _params ->
        Peer.initialized(link, id, 1, 60_000_000)
        Peer.notify(link, "ready", [{"boot_ms", 1}])
      end
    }
  end

  @tag req: "FR2.2.3"
  test "the token of a TCP worker goes into initialize" do
    script = %{
      "initialize" => fn link, id, params ->
        if params["token"] == "right",
          do: Peer.default("initialize", link, id, params),
          else: Peer.error(link, id, Error.new(:unauthorized, "the token is wrong"))
      end
    }

    {_server, port} = Peer.listen(script, ip: {127, 0, 0, 1})
    right = start(:Right, tcp: port, token: "right")
    assert {:ok, %{"value" => "x"}} = Wait.eventually(fn -> echo(right, "x") end)
    wrong = start(:Wrong, tcp: port, token: "wrong")
    assert {:error, %Error{reason: :unauthorized}} = DSPex.await_ready(wrong)
  end

  test "what belongs to others is unknown, and what the socket says is understood" do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false])
    {:ok, number} = :inet.port(listener)
    {:ok, transport} = Socket.open(tcp: number)
    {:ok, peer} = :gen_tcp.accept(listener)
    assert :unknown = Socket.handle(transport, :whatever)
    assert {:closed, _why, _transport} = Socket.handle(transport, {:tcp_error, transport.socket, :econnreset})
    assert {:closed, _why, _transport} = Socket.handle(transport, {:inet_reply, transport.socket, {:error, :epipe}})
    assert {:ok, _transport} = Socket.handle(transport, {:tcp_passive, transport.socket})

    # A peer that does not read: writes are queued and never block.
    big = :binary.copy("x", 4_000_000)
    transport = Enum.reduce(1..5, transport, fn _n, transport -> transport |> Socket.send(big) |> elem(1) end)
    assert Socket.backlog(transport) > 0
    {:ok, _bytes} = :gen_tcp.recv(peer, 20_000_000 - Socket.backlog(transport))
    assert_receive {DSPex.Transport.Outbox, _socket, :flush} = flush
    assert {:ok, _transport} = Socket.handle(transport, flush)
    :gen_tcp.close(peer)
    assert_receive {:tcp_closed, _socket} = closed
    assert {:closed, _why, _transport} = Socket.handle(transport, closed)
    assert :ok = Socket.close(transport)
    assert {:error, :closed} = Socket.send(%{transport | outbox: %DSPex.Transport.Outbox{}}, "x")
  end
end
