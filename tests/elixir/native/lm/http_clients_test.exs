defmodule DSPex.Native.LM.HttpClientsTest do
  # Finch and Req are no packages of these tests: modules of their shape, which play a script, stand in for them while the
  # adapters are compiled.
  use ExUnit.Case, async: false

  alias DSPex.Native.LM

  @messages [%{"role" => "user", "content" => "?"}]
  @folder "elixir_client/lib/dspex/native/lm/http"

  # The path of the URL is the script: events of an answer, and what happens between them.
  defmodule Script do
    def pack(test, steps), do: "http://any/" <> Base.url_encode64(:erlang.term_to_binary({test, steps}))

    def play(url, request, acc, event) do
      [_all, packed] = Regex.run(~r{http://any/([^/]+)}, url)
      {test, steps} = packed |> Base.url_decode64!() |> :erlang.binary_to_term()
      send(test, {:request, request})
      Enum.reduce_while(steps, {:ok, acc}, &step(&1, &2, test, event))
    end

    defp step({:tell, what}, outcome, test, _event) do
      send(test, {what, self()})
      {:cont, outcome}
    end

    defp step(:hang, _outcome, _test, _event), do: receive(do: (:never -> :ok))
    defp step(:raise, _outcome, _test, _event), do: raise(ArgumentError, "sk-secret")
    defp step(:exit, _outcome, _test, _event), do: exit({:timeout, "sk-secret"})
    defp step({:error, reason}, {:ok, acc}, _test, _event), do: {:halt, {:error, %{reason: reason}, acc}}

    defp step(part, {:ok, acc}, _test, event) do
      {go_on, acc} = event.(part, acc)
      {go_on, {:ok, acc}}
    end
  end

  @finch """
  defmodule Finch do
    alias DSPex.Native.LM.HttpClientsTest.Script

    def child_spec(options) do
      %{id: options[:name], start: {Agent, :start_link, [fn -> options end, [name: options[:name]]]}}
    end

    def build(method, url, headers, body), do: %{method: method, url: url, headers: headers, body: IO.iodata_to_binary(body)}

    def stream_while(request, name, acc, fun, options) do
      true = is_pid(Process.whereis(name))
      Script.play(request.url, Map.put(request, :options, options), acc, fun)
    end
  end
  """
  @req """
  defmodule Req do
    alias DSPex.Native.LM.HttpClientsTest.Script

    def request(options) do
      {own, options} = Keyword.split(options, [:method, :url, :headers, :body, :into])
      request = own |> Map.new() |> Map.merge(%{options: options, body: IO.iodata_to_binary(own[:body])})
      response = %{status: nil, headers: %{}, body: "", private: %{}}

      event = fn
        {:status, status}, {request, response} -> {:cont, {request, %{response | status: status}}}
        {:headers, all}, {request, response} -> {:cont, {request, %{response | headers: Map.new(all, fn {k, v} -> {k, [v]} end)}}}
        {:data, bytes}, acc -> own[:into].({:data, bytes}, acc)
      end

      case Script.play(request.url, request, {request, response}, event) do
        {:ok, {_request, response}} -> {:ok, response}
        {:error, error, _acc} -> {:error, error}
      end
    end
  end
  """

  setup_all do
    files = for name <- ["finch.ex", "req.ex"], do: Path.join(@folder, name)
    stand_ins = Code.compile_string(@finch) ++ Code.compile_string(@req)
    modules = stand_ins ++ Enum.flat_map(files, &Code.compile_file/1)

    on_exit(fn ->
      Supervisor.terminate_child(DSPex.Application, DSPex.Native.LM.Http.Finch)
      Supervisor.delete_child(DSPex.Application, DSPex.Native.LM.Http.Finch)
      for {module, _code} <- modules, do: :code.purge(module) && :code.delete(module) && :code.purge(module)
    end)

    {:ok, clients: [DSPex.Native.LM.Http.Finch, DSPex.Native.LM.Http.Req]}
  end

  defp lm(client, steps),
    do: LM.new("openai/m", base_url: Script.pack(self(), steps), api_key_env: nil, retries: 0, http: client)

  defp post(client, steps),
    do: client.post(Script.pack(self(), steps), [{"authorization", "Bearer sk-secret"}], "{}", 5_000)

  defp ok(parts), do: [{:status, 200}, {:headers, [{"content-type", "application/json"}]} | parts]

  @answer ~s({"model": "m", "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})

  @tag req: ["OWN-5", "OWN-8"]
  test "whole answers and streams come through Finch and Req, whose own repeats and redirects are off", %{
    clients: clients
  } do
    for client <- clients do
      {half, rest} = String.split_at(@answer, 20)
      assert {:ok, %{text: "hello"}} = LM.chat(lm(client, ok(data: half, data: rest)), @messages)
      assert_received {:request, %{method: :post, headers: headers, body: body, options: options}}
      assert {"content-type", "application/json"} in headers and body =~ ~s("content":"?")
      assert options[:receive_timeout] == 60_000 and options[:pool_timeout] == 60_000
      if client == DSPex.Native.LM.Http.Req, do: assert({options[:retry], options[:redirect]} == {false, false})

      event = ~s(data: {"choices": [{"index": 0, "delta": {"content": "hi"}}]}\n\n)
      parts = ok(data: event, data: "data: [DONE]\n\n")
      assert {:ok, %{text: "hi"}} = LM.chat(lm(client, parts), @messages, on_text: &send(self(), &1))
      assert_received "hi"
      assert_received {:request, _streamed}
    end
  end

  @tag req: "NFR2.1.2"
  test "what goes wrong is told by a name, and never with what the request held", %{clients: clients} do
    for client <- clients,
        {step, told} <- [
          {{:error, :econnrefused}, ":econnrefused"},
          {{:error, {:invalid_header_value, "authorization", "sk-secret"}}, ":invalid_header_value"},
          {{:error, {:tls_alert, {:unknown_ca, 'no'}}}, "unknown_ca"},
          {:raise, "ArgumentError"},
          {:exit, ":closed"}
        ] do
      assert {:error, %{reason: :lm_error, message: message}} = LM.chat(lm(client, [step]), @messages)
      assert message =~ told
      refute message =~ "secret"
      # The same after the first piece.
      assert {:error, %{reason: :lm_error}} = LM.chat(lm(client, ok([{:data, "{"}, step])), @messages)
    end

    for client <- clients,
        reason <- [:timeout, :request_timeout],
        do: assert({:error, %{reason: :timeout}} = LM.chat(lm(client, [{:error, reason}]), @messages))
  end

  @tag req: "NFR2.2.1"
  test "an answer that is no success comes with its headers and the beginning of its body", %{clients: clients} do
    for client <- clients do
      steps = [{:status, 429}, {:headers, [{"retry-after", "7"}]}, {:data, ~s({"error": {"message": "slow down"}})}]
      assert {:error, error} = LM.chat(lm(client, steps), @messages)
      assert {error.details["status"], error.retry_after} == {429, 7.0}
      assert error.message =~ "slow down"

      assert {:error, error} = LM.chat(lm(client, [{:status, 204}, {:headers, []}]), @messages)
      assert error.details["status"] == 204

      handle =
        post(client, [{:status, 500}, {:headers, []}] ++ List.duplicate({:data, String.duplicate("x", 50_000)}, 9))

      assert {:response, 500, [], body} = client.next(handle, 5_000)
      assert byte_size(body) == 100_000
      assert client.close(handle) == :ok
    end
  end

  @tag req: "FR1.3.3"
  test "a piece is taken from the connection when the one before it was asked for", %{clients: clients} do
    for client <- clients do
      handle = post(client, ok([{:data, "a"}, {:tell, :taken}, {:data, "b"}]))
      assert {:status, 200, [{"content-type", "application/json"}]} = client.next(handle, 5_000)
      refute_receive {:taken, _pid}, 20
      assert client.next(handle, 5_000) == {:data, "a"}
      assert_receive {:taken, _pid}, 5_000
      assert client.next(handle, 5_000) == {:data, "b"}
      assert client.next(handle, 5_000) == :done
      assert client.close(handle) == :ok
    end
  end

  @tag req: "OWN-1"
  test "a request ends when it is closed, when its time is over, and when its caller dies", %{clients: clients} do
    for client <- clients do
      steps = ok([{:data, "a"}, {:tell, :begun}, :hang])
      handle = post(client, steps)
      assert {:status, 200, _headers} = client.next(handle, 5_000)
      assert client.next(handle, 5_000) == {:data, "a"}
      assert_receive {:begun, request}, 5_000
      assert client.next(handle, 1) == :timeout
      assert client.close(handle) == :ok
      refute Process.alive?(request)

      assert {:error, %{reason: :timeout}} = LM.chat(%{lm(client, ok([:hang])) | timeout: 50}, @messages)

      lm = lm(client, steps)
      {:ok, caller} = Task.start(fn -> LM.chat(lm, @messages) end)
      assert_receive {:begun, request}, 5_000
      monitor = Process.monitor(request)
      Process.exit(caller, :kill)
      assert_receive {:DOWN, ^monitor, :process, _pid, _reason}, 5_000
    end
  end
end
