defmodule DSPex.Native.LM do
  @moduledoc """
  The chat completions API of OpenAI and of every server that speaks it, without Python.

      lm = DSPex.Native.LM.new("openai/gpt-4o-mini")
      {:ok, completion} = DSPex.Native.LM.chat(lm, [%{"role" => "user", "content" => "Hello"}])
      completion.text

  The key is read from the environment when a request is made, and is kept nowhere. Requests go through OTP's `:httpc`,
  through Finch or Req, or through a module of yours (see `DSPex.Native.LM.Http`). TLS certificates are verified, redirects
  are not followed. When the calling process dies, its request is dropped.

  Errors of the server are retried `retries` times when they may pass (408, 429, 5xx, a broken connection), after the time
  that `Retry-After` names or else with back-off, and only before anything of the answer was handed on.
  """

  alias DSPex.Error
  alias DSPex.Native.LM.Chat
  alias DSPex.Policy.Backoff

  @parameters ~w(temperature max_tokens n top_p stop seed)
  # A retry that would have to wait longer is left to the caller, who is told how long.
  @longest_wait_ms 60_000

  @enforce_keys [:model, :base_url]
  defstruct [
    :model,
    :base_url,
    :api_key_env,
    timeout: 60_000,
    retries: 2,
    params: %{},
    max_bytes: 67_108_864,
    http: DSPex.Native.LM.Http
  ]

  @type t :: %__MODULE__{
          model: String.t(),
          base_url: String.t(),
          api_key_env: String.t() | nil,
          timeout: pos_integer,
          retries: non_neg_integer,
          params: %{String.t() => term},
          max_bytes: pos_integer,
          http: module
        }

  @type message :: %{String.t() => term}

  @typedoc "An answer: the texts of all choices, tokens as the server counted them, and why the first choice ended."
  @type completion :: %{
          text: String.t(),
          texts: [String.t()],
          usage: %{String.t() => non_neg_integer},
          model: String.t(),
          finish_reason: String.t() | nil
        }

  @doc """
  Names an LM, as DSPy does: `"openai/gpt-4o-mini"`; what stands before the first slash names the provider.

  Options:

    * `:base_url` – default `OPENAI_BASE_URL`, `OPENAI_API_BASE`, or OpenAI's own
    * `:api_key_env` – name of the environment variable with the key (`"OPENAI_API_KEY"`; `nil` sends none)
    * `:timeout` – milliseconds for one request (60,000)
    * `:retries` – default 2
    * `:params` – `temperature`, `max_tokens`, `n`, `top_p`, `stop`, `seed` of every request
    * `:max_bytes` – of one answer (64 MiB)
    * `:http` – a module with the callbacks of `DSPex.Native.LM.Http`, which is the default and stands on `:httpc`; where the
      library is installed, `DSPex.Native.LM.Http.Finch` and `DSPex.Native.LM.Http.Req`

      iex> lm = DSPex.Native.LM.new("openai/gpt-4o-mini", base_url: "http://127.0.0.1:9/v1", params: %{temperature: 0})
      iex> {lm.base_url, lm.params}
      {"http://127.0.0.1:9/v1", %{"temperature" => 0}}
  """
  @spec new(String.t(), keyword) :: t
  def new(model, options \\ []) when is_binary(model) do
    known = [:base_url, :timeout, :retries, :params, :max_bytes, :http, :api_key_env]

    # Names alone: the value of one that is not known may be a key.
    if unknown = Enum.find(Keyword.keys(options), &(&1 not in known)),
      do: raise(ArgumentError, "LM #{model}: unknown option #{unknown}; known are #{Enum.join(known, ", ")}")

    options = Keyword.put_new(options, :api_key_env, "OPENAI_API_KEY")
    options = Keyword.update(options, :params, %{}, &params!/1)
    struct!(__MODULE__, [model: model] ++ Keyword.put_new_lazy(options, :base_url, &default_url/0))
  end

  @doc """
  Asks for a completion.

  Options: `:params` (over the LM's own), `:response_format`, `:timeout` (ms for everything, retries included; `:infinity`),
  `:on_text` (a function of each piece of the first choice's text: the answer is then streamed).
  """
  @spec chat(t, [message], keyword) :: {:ok, completion} | {:error, Error.t()}
  def chat(%__MODULE__{} = lm, messages, options \\ []) do
    with {:ok, headers} <- headers(lm) do
      body = body(lm, messages, options)
      deadline = deadline(Keyword.get(options, :timeout, :infinity))
      attempt(lm, headers, body, options[:on_text], deadline, Backoff.new(first: 500, most: 8_000), lm.retries)
    end
  end

  @doc "The body of a request, as JSON values."
  @spec body(t, [message], keyword) :: DSPex.Ordered.t()
  def body(lm, messages, options) do
    params = Map.merge(lm.params, options |> Keyword.get(:params, %{}) |> params!())
    stream = if options[:on_text], do: [{"stream", true}, {"stream_options", %{"include_usage" => true}}], else: []
    format = if options[:response_format], do: [{"response_format", options[:response_format]}], else: []
    set = for {name, value} <- Enum.sort(params), value != nil, do: {name, value}

    DSPex.Ordered.new([
      {"model", wire_model(lm)},
      {"messages", Enum.map(messages, &message/1)} | set ++ format ++ stream
    ])
  end

  defp attempt(lm, headers, body, on_text, deadline, backoff, left) do
    outcome = Chat.request(lm, headers, body, on_text, min_time(lm.timeout, left_ms(deadline)))

    with {:error, %Error{retryable?: true} = error, :untouched} when left > 0 <- outcome,
         {wait, backoff} = wait(error, backoff),
         true <- wait < min_time(left_ms(deadline), @longest_wait_ms) do
      receive do: ({__MODULE__, :never} -> :ok), after: (wait -> :ok)
      attempt(lm, headers, body, on_text, deadline, backoff, left - 1)
    else
      {:ok, completion} -> {:ok, completion}
      {:error, error, _touched} -> {:error, error}
      false -> {:error, elem(outcome, 1)}
    end
  end

  defp wait(%Error{retry_after: nil}, backoff), do: Backoff.next(backoff)
  defp wait(%Error{retry_after: seconds}, backoff), do: {round(seconds * 1000), backoff}

  defp headers(%__MODULE__{api_key_env: nil}), do: {:ok, []}

  defp headers(%__MODULE__{api_key_env: name} = lm) do
    # A key that was read from a file brings the end of its line along.
    key = String.trim(System.get_env(name, ""))

    cond do
      key == "" ->
        not_configured(lm, "needs the environment variable #{name}; set it where this system starts")

      # A line end would begin a header of its own.
      key =~ ~r/\A[!-~]+\z/ ->
        {:ok, [{"authorization", "Bearer " <> key}]}

      true ->
        not_configured(lm, "cannot use #{name}, whose value is no key: it holds spaces, line ends or other than ASCII")
    end
  end

  defp not_configured(lm, problem) do
    details = %{"provider" => Chat.provider(lm), "code" => "not_configured"}
    {:error, Error.new(:lm_error, "the LM #{lm.model} " <> problem, details: details)}
  end

  # The order of DSPy's own messages; maps of Elixir have none.
  defp message(%{"role" => role, "content" => content} = message) do
    rest = message |> Map.drop(["role", "content"]) |> Enum.sort()
    DSPex.Ordered.new([{"role", role}, {"content", content} | rest])
  end

  defp wire_model(lm) do
    case String.split(lm.model, "/", parts: 2) do
      [_provider, name] -> name
      [name] -> name
    end
  end

  defp default_url do
    System.get_env("OPENAI_BASE_URL") || System.get_env("OPENAI_API_BASE") || "https://api.openai.com/v1"
  end

  defp params!(params) do
    params = Map.new(params, fn {name, value} -> {to_string(name), value} end)

    case Map.keys(params) -- @parameters do
      [] ->
        params

      [name | _rest] ->
        raise ArgumentError, "#{name} is no parameter of an LM here; there are #{Enum.join(@parameters, ", ")}"
    end
  end

  defp deadline(:infinity), do: :infinity
  defp deadline(timeout), do: System.monotonic_time(:millisecond) + timeout

  defp left_ms(:infinity), do: :infinity
  defp left_ms(deadline), do: max(0, deadline - System.monotonic_time(:millisecond))

  # Every integer sorts before an atom, and so before :infinity.
  defp min_time(left, right), do: min(left, right)
end
