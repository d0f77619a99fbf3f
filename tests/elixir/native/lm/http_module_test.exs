defmodule DSPex.Native.LM.HttpModuleTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.LM

  defmodule Scripted do
    @behaviour DSPex.Native.LM.Http

    # The model's name is the script: what comes, one part after the other.
    @impl true
    def post(url, headers, body, _timeout) do
      send(self(), {:posted, url, headers, IO.iodata_to_binary(body)})
      {:ok, script} = url |> URI.parse() |> Map.fetch!(:path) |> String.split("/") |> Enum.at(1) |> Base.url_decode64()
      {:ok, agent} = Agent.start_link(fn -> :erlang.binary_to_term(script, [:safe]) end)
      agent
    end

    @impl true
    def next(agent, _timeout), do: Agent.get_and_update(agent, fn [part | parts] -> {part, parts} end)

    @impl true
    def close(agent) do
      send(self(), :closed)
      Agent.stop(agent)
    end
  end

  defp lm(parts) do
    url = "http://any/" <> Base.url_encode64(:erlang.term_to_binary(parts))
    LM.new("openai/any", base_url: url, api_key_env: nil, retries: 0, http: Scripted)
  end

  @answer ~s({"model": "m", "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})

  @tag req: ["OWN-5", "OWN-8"]
  test "another HTTP client takes the place of httpc, for whole answers and for streams" do
    {half, rest} = String.split_at(@answer, 20)
    parts = [{:status, 200, []}, {:data, half}, {:data, rest}, :done]
    assert {:ok, %{text: "hello", model: "m"}} = LM.chat(lm(parts), [%{"role" => "user", "content" => "?"}])
    assert_received {:posted, "http://any/" <> _script, [{"accept", _any}], body}
    assert body =~ ~s("content":"?")
    assert_received :closed

    event = ~s(data: {"choices": [{"index": 0, "delta": {"content": "hi"}}]}\n\n)
    parts = [{:status, 200, []}, {:data, event}, {:data, "data: [DONE]\n\n"}]

    assert {:ok, %{text: "hi"}} =
             LM.chat(lm(parts), [%{"role" => "user", "content" => "?"}], on_text: &send(self(), &1))

    assert_received "hi"
    assert_received :closed
  end

  test "an instance takes the module, and says what is none" do
    native = fn http -> [lms: [default: [model: "openai/any", http: http]]] end
    assert DSPex.Options.instance!(name: __MODULE__, pools: [], native: native.(Scripted))

    for wrong <- [Enum, "finch", NoSuchModule] do
      assert_raise ArgumentError, ~r/callbacks of DSPex.Native.LM.Http/, fn ->
        DSPex.Options.instance!(name: __MODULE__, pools: [], native: native.(wrong))
      end
    end
  end

  test "what the client tells is told on as an error of the LM, and the request is closed" do
    for {parts, status} <- [
          {[{:response, 429, [{"retry-after", "7"}], "{}"}], 429},
          {[{:response, 302, [{"location", "http://elsewhere"}], ""}], 302},
          {[{:error, :nxdomain}], nil},
          {[:timeout], nil}
        ] do
      assert {:error, error} = LM.chat(lm(parts), [%{"role" => "user", "content" => "?"}])
      assert error.reason in [:lm_error, :timeout]
      assert error.details["status"] == status
      assert_received :closed
    end
  end
end
