defmodule DSPex.Integrations.PlugTest do
  # Plug is no package of these tests: modules of its shape stand in for it while the responder is compiled.
  use ExUnit.Case, async: false

  alias DSPex.Error
  alias DSPex.Test.Peer

  @program DSPex.Predict.new("question -> answer")
  @inputs %{question: "?"}
  @plug """
  defmodule Plug.Conn do
    defstruct state: :unset, status: nil, headers: %{}, body: "", left: :infinity
    def put_resp_header(conn, name, value), do: %{conn | headers: Map.put(conn.headers, name, value)}
    def send_chunked(%{state: :unset} = conn, status), do: %{conn | state: :chunked, status: status}
    def send_resp(%{state: :unset} = conn, status, body), do: %{conn | state: :sent, status: status, body: IO.iodata_to_binary(body)}
    def chunk(%{left: 0}, _data), do: {:error, :closed}
    def chunk(%{state: :chunked} = conn, data), do: {:ok, %{conn | body: conn.body <> data, left: left(conn.left)}}
    defp left(:infinity), do: :infinity
    defp left(count), do: count - 1
  end
  """

  setup_all do
    files = Code.compile_string(@plug) ++ Code.compile_file("elixir_client/lib/dspex/integrations/plug.ex")

    on_exit(fn ->
      for {module, _code} <- files, do: {:code.delete(module), :code.purge(module)}
    end)

    {:ok, plug: DSPex.Integrations.Plug}
  end

  defp send_events(plug, options, conn \\ []) do
    apply(plug, :send_events, [struct!(Plug.Conn, conn), @program, @inputs, options])
  end

  @tag req: ["NFR5.2.2", "FR1.3.3"]
  test "a stream is sent as server-sent events in chunks", %{plug: plug} do
    script = %{
      "module.call" => fn link, id, _params ->
        Peer.event(link, id, 0, Peer.token("Pa"))
        Peer.event(link, id, 1, Peer.token("ris", true))
        Peer.result(link, id, Peer.prediction(%{"answer" => "Paris"}))
      end
    }

    instance = Peer.start_instance(__MODULE__.Events, script)
    assert %{state: :chunked, status: 200} = conn = send_events(plug, instance: instance)
    assert conn.headers["content-type"] =~ "text/event-stream"
    assert conn.headers["cache-control"] == "no-cache"

    assert ["id: 0\nevent: token\n" <> _, "id: 1\nevent: token\n" <> _, "event: result\n" <> _, ""] =
             String.split(conn.body, "\n\n")
  end

  @tag req: ["NFR2.2.1", "NFR5.2.2"]
  test "an error before the first event has its own status; a later one is the last event", %{plug: plug} do
    early = fn link, id, _params -> Peer.error(link, id, Error.new(:overloaded, "all are busy", retry_after: 1.2)) end

    late = fn link, id, _params ->
      Peer.event(link, id, 0, Peer.token("a"))
      Peer.error(link, id, Error.new(:lm_error, "gone"))
    end

    instance = Peer.start_instance(__MODULE__.Early, %{"module.call" => early})
    assert %{state: :sent, headers: headers, body: body, status: status} = send_events(plug, instance: instance)
    assert status == Error.http_status(Error.new(:overloaded, "x"))
    assert %{"retry-after" => "2", "content-type" => "application/problem+json"} = headers
    assert body =~ "all are busy"
    instance = Peer.start_instance(__MODULE__.Late, %{"module.call" => late})
    assert %{state: :chunked, body: body} = send_events(plug, instance: instance)
    assert [_token, "event: error\n" <> _, ""] = String.split(body, "\n\n")
    assert %{state: :sent, status: 503} = send_events(plug, instance: Nowhere)
  end

  @tag req: "OWN-1"
  test "a client that has gone cancels the call, at an event or at a heartbeat", %{plug: plug} do
    test = self()

    script = %{
      "module.call" => fn link, id, _params ->
        Peer.event(link, id, 0, Peer.token("a"))
        Peer.event(link, id, 1, Peer.token("b"))
      end,
      "$/cancelRequest" => fn _link, nil, %{"id" => id} -> send(test, {:cancelled, id}) end
    }

    instance = Peer.start_instance(__MODULE__.Gone, script)
    assert %{body: "id: 0" <> _} = send_events(plug, [instance: instance], left: 1)
    assert_receive {:cancelled, _id}, 5_000
    assert %{body: body} = send_events(plug, [instance: instance, heartbeat: 20], left: 4)
    assert body =~ ": heartbeat\n\n"
    assert_receive {:cancelled, _id}, 5_000
    assert {:messages, []} = Process.info(self(), :messages)
  end
end
