defmodule DSPex.Docs.LiveViewTest do
  # The LiveView and the Plug of the streaming guide. Phoenix and Plug are no packages of these tests: modules of their shape
  # stand in for them while the guide's modules are compiled and driven as a server would.
  use ExUnit.Case, async: false

  @page Path.expand("../../../docs/streaming.md", __DIR__)
  @external_resource @page
  @stand_ins """
  defmodule Phoenix.LiveView do
    @callback mount(term, term, term) :: term
    @callback handle_event(term, term, term) :: term
    @callback handle_info(term, term) :: term
    @callback render(term) :: term

    defmacro __using__(_options) do
      quote do
        @behaviour Phoenix.LiveView
        import Phoenix.LiveView
      end
    end

    defmacro sigil_H({:<<>>, _meta, [_template]}, []), do: quote(do: var!(assigns))
    def assign(socket, values), do: %{socket | assigns: Map.merge(socket.assigns, Map.new(values))}
    def update(socket, name, function), do: %{socket | assigns: Map.update!(socket.assigns, name, function)}
  end

  defmodule Plug.Conn do
    defstruct state: :unset, status: nil, query: %{}, query_params: nil, body: ""
    def fetch_query_params(conn), do: %{conn | query_params: conn.query}
    def put_resp_header(conn, _name, _value), do: conn
    def send_chunked(conn, status), do: %{conn | state: :chunked, status: status}
    def send_resp(conn, status, body), do: %{conn | state: :sent, status: status, body: body}
    def chunk(conn, data), do: {:ok, %{conn | body: conn.body <> data}}
  end
  """

  setup_all do
    files =
      Code.compile_string(@stand_ins) ++ Code.compile_file("elixir_client/lib/dspex/integrations/plug.ex") ++ guide()

    on_exit(fn ->
      for {module, _code} <- files, do: {:code.delete(module), :code.purge(module)}
    end)
  end

  defp guide do
    blocks = Regex.scan(~r/^```elixir\n(if Code.*?)^```$/ms, File.read!(@page), capture: :all_but_first)
    assert length(blocks) == 2
    Enum.flat_map(blocks, fn [code] -> Code.compile_string(code, @page) end)
  end

  defp start(answers) do
    start_supervised!({DSPex, name: StreamGuide.DSPex, pools: [default: DSPex.Testing.pool(answers)]})
    :ok
  end

  defp drive(live, socket) do
    receive do
      message ->
        {:noreply, socket} = apply(live, :handle_info, [message, socket])
        if socket.assigns.ref, do: drive(live, socket), else: socket
    after
      10_000 -> flunk("the stream did not end: #{inspect(socket)}")
    end
  end

  @tag req: ["NFR5.2.2", "NFR4.1.2"]
  test "the LiveView shows the answer, and an error as its text" do
    start([%{answer: "Nine locks, I think."}, DSPex.Error.new(:lm_error, "429 from the provider")])
    live = StreamGuide.AskLive
    {:ok, socket} = apply(live, :mount, [%{}, %{}, %{assigns: %{}}])
    {:noreply, asked} = apply(live, :handle_event, ["ask", %{"question" => "How many?"}, socket])
    assert asked.assigns.ref
    # A message of an earlier question changes nothing.
    assert {:noreply, ^asked} = apply(live, :handle_info, [{make_ref(), {:done, nil}}, asked])
    assert %{answer: "Nine locks, I think.", error: nil} = drive(live, asked).assigns
    {:noreply, asked} = apply(live, :handle_event, ["ask", %{"question" => "And now?"}, socket])
    assert %{error: error} = drive(live, asked).assigns
    assert error =~ "429 from the provider"
    assert apply(live, :render, [%{answer: "x"}]) == %{answer: "x"}
  end

  @tag req: ["NFR5.2.2", "NFR4.1.2"]
  test "the Plug answers with the events of the stream" do
    start(%{answer: "Nine locks."})
    conn = struct!(Plug.Conn, query: %{"question" => "How many?"})
    assert %{state: :chunked, status: 200, body: body} = apply(StreamGuide.AskPlug, :call, [conn, []])
    assert body =~ "event: token"
    assert body =~ ~s("outputs":{"answer":"Nine locks."})
  end
end
